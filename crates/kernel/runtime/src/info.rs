//! What is seen of a container.

use serde::{Deserialize, Serialize};
use shoal_model::Timestamp;
use shoal_model::assignment::ContainerState;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A container as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// Its id.
    pub id: String,
    /// The annotations it was made with.
    pub annotations: BTreeMap<String, String>,
    /// Its state.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started, if it was.
    pub started_at: Option<Timestamp>,
    /// Its first process on the host, while it lives (also before it is started).
    pub pid: Option<u32>,
    /// Whether it is frozen.
    pub paused: bool,
    /// Its log.
    pub log_path: PathBuf,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Where its root file system is mounted on the host, from its creation to its removal.
    pub rootfs: PathBuf,
    /// Why it could not be started, in Docker's words.
    pub error: Option<String>,
}
