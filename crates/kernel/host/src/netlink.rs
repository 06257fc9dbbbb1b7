//! Netlink spoken synchronously: messages out, answers in, with a deadline. Protocol numbers are those of
//! `linux/netlink.h`.

mod attributes;
mod socket;

pub(crate) use attributes::{Attributes, read_attributes};
pub(crate) use socket::{Reply, Request, Socket};

use crate::Reason;
use netlink_packet_core::{NetlinkSerializable, ParseableParametrized};
use netlink_packet_route::RouteNetlinkMessage;

impl Request {
    /// A message to the kernel's link, address and routing code.
    pub(crate) fn route(message: &RouteNetlinkMessage, flags: u16) -> Self {
        let mut body = vec![0; message.buffer_len()];
        message.serialize(&mut body);
        Self { kind: message.message_type(), flags, body }
    }
}

impl Reply {
    /// The answer as a message of the kernel's link, address and routing code. `None` for one that cannot be
    /// understood: a foreign device of an unknown sort must not hide everything else, and what Shoal made itself can
    /// always be understood.
    pub(crate) fn route(&self) -> Option<RouteNetlinkMessage> {
        RouteNetlinkMessage::parse_with_param(self.body.as_slice(), self.kind).ok()
    }
}

/// The `Malformed` reason with these words.
pub(crate) fn malformed(words: &str) -> Reason {
    Reason::Malformed(words.to_owned())
}
