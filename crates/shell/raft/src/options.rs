//! What can be tuned.

use std::time::Duration;

/// What can be tuned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Entries between snapshots.
    pub snapshot_interval: u64,
    /// Entries kept behind a snapshot, so that a manager that was away for a moment need not fetch it.
    pub entries_kept: u64,
    /// Time between the leader's heartbeats.
    pub heartbeat: Duration,
    /// A follower that hears nothing from the leader for a quarter more than this, at least, or half more, at most,
    /// stands for election; a leader that hears nothing from a majority for this long leads no more.
    pub election_timeout: Duration,
    /// How long a write, a read barrier or a change of members may take.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            snapshot_interval: 10_000,
            entries_kept: 500,
            heartbeat: Duration::from_millis(250),
            election_timeout: Duration::from_secs(1),
            deadline: Duration::from_secs(10),
        }
    }
}
