//! Permanent neighbours, and the forwarding entries of VXLAN devices (which the kernel keeps as neighbours of the
//! bridge family).

use crate::Reason;
use crate::addresses::family;
use crate::netlink::{Request, Socket, route_reply, route_request};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use shoal_model::Mac;
use shoal_model::netns::{Forwarding, Neighbour};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `NLM_F_CREATE | NLM_F_REPLACE`.
const CREATE_OR_REPLACE: u16 = 0x500;

fn neighbour_message(index: u32, neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(neighbour.address);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(neighbour.address.into()),
        NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()),
    ];
    message
}

pub(crate) fn add(index: u32, neighbour: &Neighbour) -> Request {
    route_request(&RouteNetlinkMessage::NewNeighbour(neighbour_message(index, neighbour)), CREATE_OR_REPLACE)
}

pub(crate) fn remove(index: u32, neighbour: &Neighbour) -> Request {
    route_request(&RouteNetlinkMessage::DelNeighbour(neighbour_message(index, neighbour)), 0)
}

fn forwarding_message(index: u32, entry: &Forwarding) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    // The device's own table, not that of the bridge it is a port of.
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(entry.mac.0.to_vec()),
        NeighbourAttribute::Destination(entry.tunnel.into()),
    ];
    message
}

pub(crate) fn add_forwarding(index: u32, entry: &Forwarding) -> Request {
    route_request(&RouteNetlinkMessage::NewNeighbour(forwarding_message(index, entry)), CREATE_OR_REPLACE)
}

pub(crate) fn remove_forwarding(index: u32, entry: &Forwarding) -> Request {
    route_request(&RouteNetlinkMessage::DelNeighbour(forwarding_message(index, entry)), 0)
}

fn dump_family(socket: &mut Socket, family: AddressFamily) -> Result<Vec<NeighbourMessage>, Reason> {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    let replies = socket.dump(&route_request(&RouteNetlinkMessage::GetNeighbour(message), 0))?;
    let read = |reply: &crate::netlink::Reply| match route_reply(reply)? {
        RouteNetlinkMessage::NewNeighbour(message) => Some(message),
        _ => None,
    };
    Ok(replies.iter().filter_map(read).collect())
}

/// Every permanent neighbour on the named links.
pub(crate) fn dump(socket: &mut Socket, names: &BTreeMap<u32, String>) -> Result<Vec<Neighbour>, Reason> {
    let messages = dump_family(socket, AddressFamily::Unspec)?;
    let read = |message: &NeighbourMessage| {
        let (destination, mac) = content(message)?;
        let address = match destination? {
            NeighbourAddress::Inet(address) => IpAddr::V4(*address),
            NeighbourAddress::Inet6(address) => IpAddr::V6(*address),
            _ => return None,
        };
        Some(Neighbour { link: names.get(&message.header.ifindex)?.clone(), address, mac })
    };
    Ok(messages.iter().filter_map(read).collect())
}

/// Every permanent forwarding entry of the named VXLAN devices that leads to a node.
pub(crate) fn dump_forwarding(
    socket: &mut Socket,
    names: &BTreeMap<u32, String>,
) -> Result<Vec<Forwarding>, Reason> {
    let messages = dump_family(socket, AddressFamily::Bridge)?;
    let read = |message: &NeighbourMessage| {
        if !message.header.flags.contains(NeighbourFlags::Own) {
            return None;
        }
        let (destination, mac) = content(message)?;
        let tunnel = match destination? {
            NeighbourAddress::Inet(address) => IpAddr::V4(*address),
            NeighbourAddress::Inet6(address) => IpAddr::V6(*address),
            // In the bridge family the address tells its own family by its length.
            NeighbourAddress::Other(bytes) => match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?),
                16 => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
                _ => return None,
            },
            _ => return None,
        };
        Some(Forwarding { link: names.get(&message.header.ifindex)?.clone(), mac, tunnel })
    };
    Ok(messages.iter().filter_map(read).collect())
}

/// Destination and Ethernet address of a permanent entry.
fn content(message: &NeighbourMessage) -> Option<(Option<&NeighbourAddress>, Mac)> {
    // Others may have set more bits than this one, such as "needs no resolving".
    if u16::from(message.header.state) & u16::from(NeighbourState::Permanent) == 0 {
        return None;
    }
    let (mut destination, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(address) => destination = Some(address),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some((destination, mac?))
}
