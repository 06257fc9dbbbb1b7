//! The replicated log: what makes several managers hold one state.
//!
//! Owns the consensus library (fenced in here, nothing of it shows), the log and snapshots on disk, the grouping of
//! writes into entries, and membership of the group. Everyone else sees the trait [`Log`]: propose, read, watch.
//!
//! Must never: look into a change (that is `shoal-store`'s `apply`), open a socket (messages leave through a
//! [`Transport`]), or answer a write before a majority of managers has it on disk.
#![forbid(unsafe_code)]

mod batcher;
mod error;
mod leadership;
#[cfg(test)]
mod library_suite;
mod log;
mod log_store;
mod membership;
mod message;
mod network;
mod options;
mod raft_log;
mod recover;
mod snapshot_file;
mod state_machine;
mod transport;
mod types;

pub use error::{HandleError, OpenError, ProposeError, TransportError};
pub use log::{LeaderHint, Leadership, Log, Member, MemberStatus};
pub use options::Options;
pub use raft_log::RaftLog;
pub use transport::Transport;
