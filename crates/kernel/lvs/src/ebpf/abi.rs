//! The structs of `bpf/abi.h`, field by field. Ports and addresses are in network byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types that may be copied byte by byte to and from the kernel.
///
/// # Safety
/// Implementors are `repr(C)` (or primitive), have no padding, and are valid for every bit pattern.
pub(crate) unsafe trait Plain: Copy + Default {}

// SAFETY: integers have no padding and are valid for every bit pattern.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}

macro_rules! mirrored {
    ($($(#[$doc:meta])* struct $name:ident [$size:literal] { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }

        const _: () = assert!(size_of::<$name>() == $size);
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, "implicit padding");

        // SAFETY: repr(C), made of plain fields only, and the assertion above shows that there is no padding.
        unsafe impl Plain for $name {}
    )*};
}

mirrored! {
    /// An address of either family, IPv4 as `::ffff:a.b.c.d`.
    struct Address [16] {
        bytes: [u32; 4],
    }

    /// Key of a service between tasks.
    struct VipKey [20] {
        network: u32,
        vip: Address,
    }

    /// Key of a published port.
    struct PortKey [4] {
        port: u16,
        protocol: u8,
        zero: u8,
    }

    /// A virtual service.
    struct Service [24] {
        number: u32,
        generation: u32,
        slots: u32,
        scheduler: u32,
        affinity: u32,
        flags: u32,
    }

    /// A network whose clients may use a service; the prefix counts the service's bits too.
    struct AllowKey [24] {
        prefix: u32,
        service: u32,
        network: Address,
    }

    /// An address of a service: where it is published, or a client's.
    struct ServiceAddress [20] {
        service: u32,
        address: Address,
    }

    /// What passed between the mesh's clients and a real server, as one processor saw it.
    struct Traffic [32] {
        packets_in: u64,
        bytes_in: u64,
        packets_out: u64,
        bytes_out: u64,
    }

    /// Key of a ring's slot.
    struct SlotKey [12] {
        service: u32,
        generation: u32,
        slot: u32,
    }

    /// A real server of one service.
    struct Server [76] {
        address: Address,
        address6: Address,
        mac: [u8; 6],
        port: u16,
        service: u32,
        weight: u32,
        task: [u8; 28],
    }

    /// Counters of a real server that the programs keep.
    struct Tally [24] {
        connections: u64,
        active: u64,
        inactive: u64,
    }

    /// A namespace whose connections are balanced.
    struct Sandbox [176] {
        ingress: Address,
        ingress6: Address,
        flags: u32,
        count: u32,
        networks: [u32; SANDBOX_NETWORKS_MAX],
        client: Address,
    }

    /// Where the mesh hooks into the node.
    struct Mesh [24] {
        gateway_port: u32,
        sandbox_ingress: u32,
        sandbox_gateway: u32,
        entry_mac: [u8; 6],
        retired: u8,
        accompanied: u8,
        mtu: u32,
    }

    /// Key of a flow where it enters the mesh.
    struct EntryKey [40] {
        client: Address,
        node: Address,
        client_port: u16,
        port: u16,
        protocol: u8,
        zero: [u8; 3],
    }

    /// A flow where it enters the mesh.
    struct EntryFlow [24] {
        seen: u64,
        server: u32,
        uplink: u32,
        state: u32,
        zero: u32,
    }

    /// A local task on the ingress network.
    struct MeshTask [40] {
        address: Address,
        address6: Address,
        mac: [u8; 6],
        zero: [u8; 2],
    }

    /// Key of a local task's published port.
    struct TaskPortKey [8] {
        port_link: u32,
        published: u16,
        protocol: u8,
        zero: u8,
    }

    /// The port that a local task listens on.
    struct TaskPort [4] {
        target: u16,
        zero: u16,
    }

    /// Key of a flow as its task sees it.
    struct TaskKey [40] {
        task: Address,
        client: Address,
        client_port: u16,
        port: u16,
        protocol: u8,
        zero: [u8; 3],
    }

    /// A flow as its task sees it.
    struct TaskFlow [40] {
        seen: u64,
        node: Address,
        published: u16,
        client_port: u16,
        entry_mac: [u8; 6],
        zero: [u8; 2],
        state: u32,
    }

    /// Key of a flow whose client port was taken at the task.
    struct ClashKey [64] {
        flow: TaskKey,
        node: Address,
        published: u16,
        zero: [u16; 3],
    }

    /// The client port that such a flow has at the task.
    struct Clash [4] {
        client_port: u16,
        zero: u16,
    }

    /// Key of an unconnected datagram socket's partner.
    struct DatagramKey [32] {
        socket: u64,
        peer: Address,
        port: u16,
        zero: [u16; 3],
    }

    /// The server that such a socket was given.
    struct DatagramChoice [16] {
        seen: u64,
        server: u32,
        zero: u32,
    }

    /// A socket that is connected to a real server.
    struct Balanced [56] {
        netns: u64,
        asked: Address,
        real: Address,
        asked_port: u16,
        real_port: u16,
        server: u32,
        protocol: u32,
        zero: u32,
    }

    /// A real server that went while connections to it were open.
    struct GoneServer [48] {
        removed: u64,
        resets: u64,
        service: u32,
        task: [u8; 28],
    }

    /// Text of a network's id.
    struct NetworkText [28] {
        text: [u8; 28],
    }
}

/// Flag of a service: only the networks in `allowed` may use it.
pub(crate) const SERVICE_RESTRICTED: u32 = 1;
/// Flag of a service: it is published on the addresses in `published_on` only.
pub(crate) const SERVICE_ON_ADDRESSES: u32 = 2;
/// Networks of one sandbox at most.
pub(crate) const SANDBOX_NETWORKS_MAX: usize = 30;
/// The sandbox is the node itself: loopback addresses lead to published ports.
pub(crate) const SANDBOX_IS_HOST: u32 = 1;

/// Why packets were dropped, `enum drop` in `abi.h`: indexes into the map of drops.
pub(crate) const DROP_NOT_ALLOWED: u32 = 0;
/// A map was full.
pub(crate) const DROP_TABLE_FULL: u32 = 1;
/// Two flows could not be told apart.
pub(crate) const DROP_CLASH: u32 = 2;
/// It belonged to no flow.
pub(crate) const DROP_UNKNOWN_FLOW: u32 = 3;

/// What was seen of a TCP connection.
pub(crate) const FLOW_ANSWERED: u32 = 1;
/// The client is done sending.
pub(crate) const FLOW_CLIENT_FIN: u32 = 2;
/// The server is done sending.
pub(crate) const FLOW_SERVER_FIN: u32 = 4;
/// Either side gave up.
pub(crate) const FLOW_RESET: u32 = 8;

/// Whether a flow's connection is over.
pub(crate) fn is_closed(state: u32) -> bool {
    let both = FLOW_CLIENT_FIN | FLOW_SERVER_FIN;
    state & FLOW_RESET != 0 || state & both == both
}

/// Protocol numbers of the IP header.
pub(crate) const PROTOCOL_TCP: u8 = 6;
/// See above.
pub(crate) const PROTOCOL_UDP: u8 = 17;

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let v6 = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { bytes: words(v6) }
    }
}

impl From<Option<Ipv6Addr>> for Address {
    /// All zeros where there is none.
    fn from(address: Option<Ipv6Addr>) -> Self {
        address.map_or_else(Self::default, |v6| Self { bytes: words(v6) })
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let mut octets = [0_u8; 16];
        for (four, word) in octets.chunks_exact_mut(4).zip(address.bytes) {
            four.copy_from_slice(&word.to_ne_bytes());
        }
        let v6 = Ipv6Addr::from(octets);
        v6.to_ipv4_mapped().map_or(Self::V6(v6), |v4: Ipv4Addr| Self::V4(v4))
    }
}

/// The address as it lies in memory, in the machine's words.
fn words(address: Ipv6Addr) -> [u32; 4] {
    let mut words = [0_u32; 4];
    for (word, four) in words.iter_mut().zip(address.octets().chunks_exact(4)) {
        *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
    }
    words
}

/// An id as fixed text, padded with zeros.
pub(crate) fn text28(id: &str) -> [u8; 28] {
    let mut text = [0; 28];
    for (to, from) in text.iter_mut().zip(id.bytes()) {
        *to = from;
    }
    text
}

/// The id in fixed text.
pub(crate) fn text_of(text: &[u8; 28]) -> String {
    text.iter().take_while(|b| **b != 0).map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_come_back_unchanged() {
        for text in ["10.0.0.1", "::1", "fd00::5", "255.255.255.255"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn ipv4_addresses_are_held_as_mapped() {
        let address = Address::from("1.2.3.4".parse::<IpAddr>().unwrap());
        assert_eq!(address.bytes[2].to_ne_bytes(), [0, 0, 0xff, 0xff]);
        assert_eq!(address.bytes[3].to_ne_bytes(), [1, 2, 3, 4]);
    }

    #[test]
    fn ids_come_back_from_fixed_text() {
        let id = "0123456789abcdefghijklmno";
        assert_eq!(text_of(&text28(id)), id);
    }
}
