//! Tests against the running kernel, in namespaces of their own. They need root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ipv6;
mod layout;
mod links;
mod packet_filter;
mod packets;
mod place;
mod repair;
mod round_trip;
