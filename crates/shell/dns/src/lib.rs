//! The name server of a sandbox: what a task sees at 127.0.0.11.
//!
//! Owns the answers to DNS queries from a declared [`Zone`](shoal_model::dns::Zone) and the forwarding of all other
//! names to the host's or the user's servers. It is handed sockets that are already bound inside a sandbox; it must
//! never create or enter namespaces, and never decide what a zone holds.

mod answer;
mod forward;
mod resolv_conf;
mod server;
mod upstream;

pub use answer::{Answer, Transport, answer};
pub use server::{Error, serve};
pub use upstream::Upstream;
