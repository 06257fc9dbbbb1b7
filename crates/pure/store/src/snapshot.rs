//! The whole state as bytes, and back.

use crate::{Object, Rejected, State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The form of a snapshot. JSON, so that fields added later do not make an old snapshot unreadable.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    index: u64,
    #[serde(default)]
    planned: u64,
    objects: Vec<Object>,
}

/// Why a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are not a snapshot.
    #[error("the snapshot cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// The objects in it contradict each other.
    #[error("the snapshot contradicts itself")]
    Contradiction(#[source] Rejected),
}

impl State {
    /// The whole state as bytes, the same on every manager that has applied the same entries.
    pub fn snapshot(&self) -> Vec<u8> {
        let snapshot =
            Snapshot { index: self.index, planned: self.planned, objects: self.objects().collect() };
        // Writing these types to memory has no way to fail: maps have text keys and nothing else is fallible.
        serde_json::to_vec(&snapshot).unwrap_or_default()
    }

    /// The state that a snapshot was taken of.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let snapshot: Snapshot = serde_json::from_slice(bytes).map_err(SnapshotError::Malformed)?;
        let mut state = Self::default();
        (state.index, state.planned) = (snapshot.index, snapshot.planned);
        for object in snapshot.objects {
            state.set(&object.key(), Some(object)).map_err(SnapshotError::Contradiction)?;
        }
        Ok(state)
    }

    /// Every stored object: the cluster, then by kind and id.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        let cluster = self.cluster.iter().map(|o| Object::Cluster(Arc::clone(o)));
        cluster
            .chain(self.nodes().values().map(|o| Object::Node(Arc::clone(o))))
            .chain(self.networks().values().map(|o| Object::Network(Arc::clone(o))))
            .chain(self.secrets().values().map(|o| Object::Secret(Arc::clone(o))))
            .chain(self.configs().values().map(|o| Object::Config(Arc::clone(o))))
            .chain(self.services().values().map(|o| Object::Service(Arc::clone(o))))
            .chain(self.tasks().values().map(|o| Object::Task(Arc::clone(o))))
    }
}
