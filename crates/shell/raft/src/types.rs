//! The consensus library's types, bound to ours.

use crate::{LeaderHint, Member};
use openraft::TokioRuntime;
use serde::{Deserialize, Serialize};
use shoal_model::NodeId;
use shoal_store::{Entry, Rejected};
use std::io::Cursor;

/// What the state said to each batch of an entry.
pub(crate) type Outcome = Vec<Result<(), Rejected>>;

openraft::declare_raft_types!(
    /// The library, bound to our log entries.
    pub(crate) Bound:
        D = Entry,
        R = Outcome,
        NodeId = u64,
        Node = Place,
        Entry = openraft::Entry<Bound>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = TokioRuntime,
);

pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Place>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Place>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type RaftEntry = openraft::Entry<Bound>;
pub(crate) type Raft = openraft::Raft<Bound>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Place>;

/// A member as the library stores it: everything but its number. Empty texts exist in the library's own tests only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) node_id: String,
    pub(crate) addr: String,
}

impl Place {
    pub(crate) fn of(member: &Member) -> Self {
        Self { node_id: member.node_id.to_string(), addr: member.addr.clone() }
    }

    pub(crate) fn member(&self, raft_id: u64) -> Option<Member> {
        let node_id: NodeId = self.node_id.parse().ok()?;
        Some(Member { raft_id, node_id, addr: self.addr.clone() })
    }

    pub(crate) fn hint(&self) -> Option<LeaderHint> {
        Some(LeaderHint { node_id: self.node_id.parse().ok()?, addr: self.addr.clone() })
    }
}
