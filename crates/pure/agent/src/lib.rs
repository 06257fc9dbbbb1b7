//! The node's brain: what one node has to do so that it holds what the managers assigned to it.
//!
//! Owns the node's decisions, each a pure function from what is wanted and what was seen to what is to be done:
//! [`declare`] (every network namespace as it should be), [`diff`] (the repairs that lead there), [`plan`] (the next
//! steps of the containers), [`reports`] (what the managers are told of the tasks), [`table`] (what the balancer holds,
//! with its rings), [`deviations`] and [`digest`] (what is not so, and of what), [`zones`] (what each sandbox resolves),
//! [`draining`] (how far tasks are with leaving), [`next_wake`] (when to look again although nothing happened), the way
//! of a connection ([`trace`]), and the names of everything on the node ([`names`]). Start, normal work, daemon restart
//! and teardown are the same functions: teardown is [`diff`] from nothing declared.
//!
//! Must never: read a clock, a random source, a file or a socket; keep state between calls; spawn; be async; know how a
//! repair is carried out.
#![forbid(unsafe_code)]

pub mod balance;
pub mod names;
pub mod retry;
pub mod template;
pub mod trace;

mod connections;
mod deviations;
mod diff;
mod digest;
mod facts;
mod inbound;
mod network;
mod table;
mod task;
mod wake;
mod zone;

pub use connections::{connections, counts_connections};
pub use deviations::deviations;
pub use diff::diff;
pub use digest::digest;
pub use facts::LocalFacts;
pub use inbound::live_inbound;
pub use network::declare;
pub use table::table;
pub use task::{draining, plan, reports};
pub use wake::next_wake;
pub use zone::zones;
