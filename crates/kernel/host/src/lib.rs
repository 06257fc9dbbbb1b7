//! The node's network namespaces as the kernel holds them: links, addresses, routes, rules, neighbours, forwarding
//! entries, kernel parameters and Shoal's own packet-filter table. [`Host::observe`] says what is there in the
//! vocabulary of [`shoal_model::netns`]; [`Host::apply`] carries out one repair.
//!
//! This crate owns every netlink message for the above. It starts no process and keeps no state of its own: what it
//! knows is in the kernel. It must never decide what ought to be there, and in the host's namespace it must never
//! touch a link that does not carry the owner's mark (its `ifalias`).
//!
//! How the kernel's view is brought into the declared form:
//! - IPv6 link-local addresses, the loopback addresses of `lo`, routes and rules that the kernel makes by itself,
//!   multicast and bridge-made forwarding entries are left out;
//! - `lo` has no MAC and an MTU of 0; every other link is observed with its real MAC (`Some`), so whoever compares
//!   must ignore the MAC where the declared one is `None`;
//! - the other end of a pair that is in none of the observed namespaces is reported as
//!   `Named("nsid:<number>")` with peer `ifindex:<number>`, which equals nothing that can be declared;
//! - of the host's namespace, rules of policy routing are not observed: they carry no mark of their owner;
//! - a packet-filter rule counts as present only if all its parts are in the kernel.

mod addresses;
mod apply;
mod error;
mod facts;
mod firewall;
mod host;
mod links;
mod namespace;
mod neighbours;
mod netlink;
mod observe;
mod peers;
mod requirements;
mod routes;
mod session;
mod sysctl;

pub use error::{Error, Reason};
pub use facts::{HostFacts, Interface};
pub use host::{Host, HostConfig};
pub use namespace::{create_namespace, in_namespace, remove_namespace};
pub use requirements::{Missing, check_requirements};
