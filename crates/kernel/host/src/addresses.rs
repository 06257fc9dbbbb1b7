//! Addresses of links.

use crate::Reason;
use crate::netlink::{Request, Socket, route_reply, route_request};
use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// `NLM_F_CREATE | NLM_F_REPLACE`.
const CREATE_OR_REPLACE: u16 = 0x500;

fn message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes =
        vec![AddressAttribute::Address(address.addr()), AddressAttribute::Local(address.addr())];
    message
}

/// The family of an address.
pub(crate) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(crate) fn add(index: u32, address: IpNet) -> Request {
    let mut message = message(index, address);
    match address {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        IpNet::V4(_) => {}
        // The cluster hands out each address once; waiting a second for duplicate detection helps nobody.
        IpNet::V6(net) => {
            message.header.flags = AddressHeaderFlags::Nodad;
            if net.prefix_len() == net.max_prefix_len() {
                message.attributes.push(AddressAttribute::CacheInfo(not_preferred()));
            }
        }
    }
    route_request(&RouteNetlinkMessage::NewAddress(message), CREATE_OR_REPLACE)
}

/// Deprecated for ever (RFC 4862, section 5.5.4): a virtual address stands beside the link's own one, and the kernel must
/// not choose it as the source of what the namespace says by itself. (IPv4 has this order by primary and secondary.)
fn not_preferred() -> CacheInfo {
    let mut times = CacheInfo::default();
    times.ifa_valid = u32::MAX;
    times.ifa_preferred = 0;
    times
}

pub(crate) fn remove(index: u32, address: IpNet) -> Request {
    route_request(&RouteNetlinkMessage::DelAddress(message(index, address)), 0)
}

/// An address that the kernel shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenAddress {
    /// Number of the link.
    pub(crate) index: u32,
    pub(crate) address: IpNet,
    /// Whether it is of the sort that the kernel gives a link by itself.
    pub(crate) link_local: bool,
}

/// Every address of the socket's namespace.
pub(crate) fn dump(socket: &mut Socket) -> Result<Vec<SeenAddress>, Reason> {
    let request = route_request(&RouteNetlinkMessage::GetAddress(AddressMessage::default()), 0);
    Ok(socket.dump(&request)?.iter().filter_map(|reply| read(route_reply(reply)?)).collect())
}

fn read(message: RouteNetlinkMessage) -> Option<SeenAddress> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    // On a point-to-point link `Local` is the own address and `Address` the other end's.
    let mut own = None;
    let mut given = None;
    let mut duplicate = false;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => given = Some(*address),
            AddressAttribute::Flags(flags) => duplicate = flags.contains(AddressFlags::Dadfailed),
            _ => {}
        }
    }
    let address = own.or(given).filter(|_| !duplicate)?;
    Some(SeenAddress {
        index: message.header.index,
        address: IpNet::new(address, message.header.prefix_len).ok()?,
        link_local: address.is_ipv6() && message.header.scope == AddressScope::Link,
    })
}
