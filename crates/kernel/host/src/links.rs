//! Links: found, made, set and removed. Bridges forward at once (no spanning tree) and do not look into multicast;
//! VXLAN devices learn nothing and answer neighbour queries from their own table.

mod create;
mod seen;

pub(crate) use create::{by_port, create, remove, set, set_isolated};
pub(crate) use seen::{Seen, SeenKind, dump, find};

use crate::netlink::{Socket, route_request};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use shoal_netlink::protocols::NETLINK_ROUTE;
use std::io;

/// Brings `lo` of the calling thread's namespace up.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfName("lo".into()));
    let request = route_request(&RouteNetlinkMessage::SetLink(message), 0);
    Socket::open(NETLINK_ROUTE)
        .and_then(|mut socket| socket.request(&request))
        .map(drop)
        .map_err(io::Error::other)
}
