//! What the name server of one sandbox answers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The address that every sandbox's name server listens on, as Docker's does.
pub const SERVER_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 11);

/// Time to live of answers from the zone in seconds, as Docker's.
pub const TTL_SECONDS: u32 = 600;

/// Everything one sandbox can resolve without asking elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Zone {
    /// Lower-case names without trailing dot (`whoami`, `tasks.whoami`, `whoami.my-demo`) and their addresses. A name
    /// with an empty list exists and has no address (a service with DNS round robin and no running task).
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Names of addresses, for reverse look-ups.
    pub reverse: BTreeMap<IpAddr, String>,
    /// Servers that other names are forwarded to; empty means the host's own.
    pub forward_to: Vec<IpAddr>,
    /// Whether other names are forwarded at all (not from a sandbox with internal networks only).
    pub forwards: bool,
}
