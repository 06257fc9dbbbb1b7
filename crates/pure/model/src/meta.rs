//! What every stored object carries.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// The index of the log entry that last wrote an object. Cluster-wide monotonic; every write of the object moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Version {
    /// The log index.
    #[serde(rename = "Index")]
    pub index: u64,
}

/// Version and times of a stored object, in Docker's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Meta {
    /// Last write.
    pub version: Version,
    /// When the object was created.
    pub created_at: Timestamp,
    /// When the object was last written.
    pub updated_at: Timestamp,
}

impl Meta {
    /// The meta of an object created by log entry `index` at `now`.
    pub fn created(index: u64, now: Timestamp) -> Self {
        Self { version: Version { index }, created_at: now, updated_at: now }
    }

    /// Notes a write by log entry `index` at `now`.
    pub fn touch(&mut self, index: u64, now: Timestamp) {
        self.version = Version { index };
        self.updated_at = now;
    }
}
