//! The replicated log as the rest of Shoal sees it.

use crate::ProposeError;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shoal_model::NodeId;
use shoal_store::{Batch, State};
use std::sync::Arc;
use tokio::sync::watch;

/// One manager in the consensus group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number in the group, never used again once it was removed. 0 is not a number.
    pub raft_id: u64,
    /// The machine.
    pub node_id: NodeId,
    /// Where the other managers reach it, `address:port`.
    pub addr: String,
}

/// Who leads, as far as this manager knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderHint {
    /// The machine.
    pub node_id: NodeId,
    /// Where it is reached, `address:port`.
    pub addr: String,
}

/// A member as seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Whether it has a vote; a member that is still catching up has none.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it answered lately. Known for certain on the leader only: elsewhere, the leader and this manager count
    /// as reachable.
    pub reachable: bool,
}

/// Who leads and who takes part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// Whether this manager leads and a majority has answered it lately. False on a leader that was cut off.
    pub is_leader: bool,
    /// The leader; absent during elections and without a majority.
    pub leader: Option<LeaderHint>,
    /// The term, which moves with every election.
    pub term: u64,
    /// Everyone who takes part, by number.
    pub members: Vec<MemberStatus>,
}

/// The replicated log with the state that it leads to. [`crate::RaftLog`] is the real one; a test or a simulation may
/// bring its own.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends a batch and waits until it is committed and applied here; answers its log index.
    ///
    /// # Errors
    /// [`ProposeError::Rejected`] if the state refused it. Otherwise nothing is known to have been written; but after
    /// [`ProposeError::NoQuorum`], [`ProposeError::ShuttingDown`] and [`ProposeError::Storage`] the batch may still come
    /// to be written later on.
    async fn propose(&self, batch: Batch) -> Result<u64, ProposeError>;

    /// The state after the last applied entry.
    fn state(&self) -> Arc<State>;

    /// The index of the last applied entry; wakes on every one. [`Self::state`] is at least as new as what this shows.
    fn applied(&self) -> watch::Receiver<u64>;

    /// Who leads and who takes part; wakes when that changes.
    fn leadership(&self) -> watch::Receiver<Leadership>;

    /// On the leader, waits until [`Self::state`] holds everything that was committed when this was called. Elsewhere
    /// it is [`ProposeError::NotLeader`].
    async fn read_barrier(&self) -> Result<(), ProposeError>;

    /// On the leader, lets a manager take part: first without a vote until it has caught up, then with one. Doing it
    /// again is harmless, and moves the manager to a new address.
    async fn add_voter(&self, member: Member) -> Result<(), ProposeError>;

    /// On the leader, takes a manager out of the group. A number that is not in it is no error.
    async fn remove_voter(&self, raft_id: u64) -> Result<(), ProposeError>;

    /// Stops taking part and closes the files.
    async fn shutdown(&self);
}
