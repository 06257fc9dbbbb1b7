//! How far each node has come with what it was told, as its heartbeats say.

use shoal_model::NodeId;
use shoal_peer::Progress;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The newest progress of every node that has a session here.
#[derive(Debug, Default)]
pub(crate) struct Holdings(Mutex<BTreeMap<NodeId, Progress>>);

impl Holdings {
    /// A node has told.
    pub(crate) fn told(&self, node: &NodeId, progress: Progress) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node.clone(), progress);
    }

    /// A node's session is over: what it told is no longer true for sure.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    /// What a node has told last.
    pub(crate) fn of(&self, node: &NodeId) -> Option<Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }
}
