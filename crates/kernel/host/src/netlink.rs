//! Messages of the kernel's link, address and routing code as netlink requests and replies.

pub(crate) use shoal_netlink::{Attributes, Reply, Request, Socket, read_attributes};

use netlink_packet_core::{NetlinkSerializable, ParseableParametrized};
use netlink_packet_route::RouteNetlinkMessage;

/// A message to the kernel's link, address and routing code.
pub(crate) fn route_request(message: &RouteNetlinkMessage, flags: u16) -> Request {
    let mut body = vec![0; message.buffer_len()];
    message.serialize(&mut body);
    Request { kind: message.message_type(), flags, body }
}

/// The answer as a message of the kernel's link, address and routing code. `None` for one that cannot be understood: a
/// foreign device of an unknown sort must not hide everything else, and what Shoal made itself can always be understood.
pub(crate) fn route_reply(reply: &Reply) -> Option<RouteNetlinkMessage> {
    RouteNetlinkMessage::parse_with_param(reply.body.as_slice(), reply.kind).ok()
}
