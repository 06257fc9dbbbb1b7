//! The frame of netfilter's messages (`linux/netfilter/nfnetlink.h`).

use crate::{Attributes, Request};

/// The packet filter, `nf_tables` (`NFNL_SUBSYS_NFTABLES`).
pub const NFTABLES: u8 = 10;
/// Connection tracking (`NFNL_SUBSYS_CTNETLINK`).
pub const CONNECTIONS: u8 = 1;
/// The family of tables for both versions of IP (`NFPROTO_INET`).
pub const INET: u8 = 1;
/// Length of `struct nfgenmsg`, which precedes the attributes.
pub const FAMILY_HEADER: usize = 4;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// A message of a subsystem of netfilter for a family.
pub fn message(subsystem: u8, kind: u8, flags: u16, family: u8, attributes: &Attributes) -> Request {
    let mut body = vec![family, 0, 0, 0];
    body.extend_from_slice(attributes.as_bytes());
    Request { kind: u16::from(subsystem) << 8 | u16::from(kind), flags, body }
}

/// The first message of a transaction.
pub fn begin() -> Request {
    marker(BATCH_BEGIN)
}

/// The last message of a transaction.
pub fn end() -> Request {
    marker(BATCH_END)
}

fn marker(kind: u16) -> Request {
    Request { kind, flags: 0, body: vec![0, 0, 0, NFTABLES] }
}
