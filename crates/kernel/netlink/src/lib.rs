//! Netlink spoken synchronously: messages out, answers in, with a deadline; and the frame of netfilter's messages, in
//! which the packet filter and connection tracking are spoken to. Protocol numbers are those of `linux/netlink.h`.
//!
//! Owns sockets, message framing and attributes. Must never know what a message is for: who uses it does.

mod attributes;
mod error;
pub mod netfilter;
mod socket;

pub use attributes::{Attributes, read_attributes};
pub use error::Error;
pub use netlink_sys::protocols;
pub use socket::{Reply, Request, Socket};
