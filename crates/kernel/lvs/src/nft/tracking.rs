//! Tracked connections of a namespace: read, and ended. Numbers are those of `linux/netfilter/nfnetlink_conntrack.h`
//! and `nf_conntrack_tcp.h`.

use nix::errno::Errno;
use shoal_netlink::{Attributes, Error, Reply, Socket, netfilter, read_attributes};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const GET: u8 = 1;
const DELETE: u8 = 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_STATE: u16 = 4;
const TIMEOUT: u16 = 7;
const IDENTITY: u16 = 12;
const ZONE: u16 = 18;
/// `IPS_DST_NAT`.
const DESTINATION_TRANSLATED: u32 = 1 << 5;

/// One tracked connection.
#[derive(Debug, Clone)]
pub(super) struct Tracked {
    pub(super) protocol: u8,
    pub(super) client: SocketAddr,
    pub(super) asked: SocketAddr,
    /// Who answers.
    pub(super) real: SocketAddr,
    pub(super) translated: bool,
    /// `TCP_CONNTRACK_…`, for TCP.
    pub(super) tcp_state: Option<u8>,
    /// Seconds until it is forgotten.
    pub(super) expires: u32,
    /// What names it to the kernel, as it came.
    original: Vec<u8>,
    identity: Option<Vec<u8>>,
    zone: Option<Vec<u8>>,
}

const UDP: u8 = 17;
/// `TCP_CONNTRACK_ESTABLISHED`.
pub(super) const ESTABLISHED: u8 = 3;

/// All connections whose destination was translated.
pub(super) fn translated(socket: &mut Socket) -> Result<Vec<Tracked>, Error> {
    let request = netfilter::message(netfilter::CONNECTIONS, GET, 0, 0, &Attributes::new());
    let replies = socket.dump(&request)?;
    Ok(replies.iter().filter_map(Tracked::read).filter(|tracked| tracked.translated).collect())
}

/// Ends a connection: its next packet is one of a connection that nobody knows. One that has ended by itself is fine.
pub(super) fn forget(socket: &mut Socket, tracked: &Tracked) -> Result<(), Error> {
    let family = if tracked.client.is_ipv4() { 2 } else { 10 };
    let optional = |list: Attributes, kind, value: &Option<Vec<u8>>| match value {
        Some(value) => list.bytes(kind, value),
        None => list,
    };
    let attributes = Attributes::new().raw_nested(ORIGINAL, &tracked.original);
    let attributes = optional(attributes, IDENTITY, &tracked.identity);
    let attributes = optional(attributes, ZONE, &tracked.zone);
    match socket.request(&netfilter::message(netfilter::CONNECTIONS, DELETE, 0, family, &attributes)) {
        Err(e) if e.errno() == Some(Errno::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}

impl Tracked {
    /// Its state as `ipvsadm -Lnc` has it; of protocols without states, the protocol.
    pub(super) fn state(&self) -> &'static str {
        match (self.protocol, self.tcp_state) {
            (_, Some(ESTABLISHED)) => "ESTABLISHED",
            (_, Some(4 | 5)) => "FIN_WAIT",
            (_, Some(6..=8)) => "CLOSE",
            (_, Some(_)) => "SYN_RECV",
            (UDP, None) => "UDP",
            (_, None) => "NONE",
        }
    }

    fn read(reply: &Reply) -> Option<Self> {
        let body = reply.body.get(netfilter::FAMILY_HEADER..)?;
        let find = |wanted| read_attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let original = find(ORIGINAL)?;
        let (protocol, client, asked) = read_tuple(original)?;
        let (_, real, _) = read_tuple(find(REPLY)?)?;
        let tcp = find(PROTOCOL_STATE).and_then(|state| nested(state, 1));
        Some(Self {
            protocol,
            client,
            asked,
            real,
            translated: find(STATUS).map_or(0, be32) & DESTINATION_TRANSLATED != 0,
            expires: find(TIMEOUT).map_or(0, be32),
            tcp_state: tcp.and_then(|tcp| nested(tcp, 1)).and_then(|state| state.first().copied()),
            original: original.to_vec(),
            identity: find(IDENTITY).map(<[u8]>::to_vec),
            zone: find(ZONE).map(<[u8]>::to_vec),
        })
    }
}

/// Protocol, source and destination; ports are 0 for protocols without.
fn read_tuple(bytes: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (ip, protocol) = (nested(bytes, 1)?, nested(bytes, 2)?);
    let address = |v4, v6| -> Option<IpAddr> {
        if let Some(bytes) = nested(ip, v4) {
            return Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into());
        }
        Some(Ipv6Addr::from(*nested(ip, v6)?.first_chunk::<16>()?).into())
    };
    let port =
        |kind| nested(protocol, kind).and_then(|v| v.first_chunk()).map_or(0, |v| u16::from_be_bytes(*v));
    let source = SocketAddr::new(address(1, 3)?, port(2));
    let destination = SocketAddr::new(address(2, 4)?, port(3));
    Some((*nested(protocol, 1)?.first()?, source, destination))
}

fn nested(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    read_attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_be_bytes(*chunk))
}
