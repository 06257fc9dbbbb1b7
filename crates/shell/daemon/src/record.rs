//! What the daemon keeps of each container beside what the runtime can observe: one JSON file a container, under
//! `<data-root>/containers/<id>/`, where its log and what it writes are, too.

use crate::disk;
use serde::{Deserialize, Serialize};
use shoal_model::spec::{HealthConfig, Labels, Mount, PortConfig, TaskSpec};
use shoal_model::task::Attachment;
use shoal_model::{NetworkId, NodeId, ServiceId, TaskId, Timestamp};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What a container was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) task: TaskId,
    pub(crate) service: ServiceId,
    pub(crate) node: NodeId,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) user: String,
    pub(crate) hostname: String,
    pub(crate) labels: Labels,
    pub(crate) stop_signal: String,
    pub(crate) exposed: Vec<PortConfig>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) healthcheck: Option<HealthConfig>,
    pub(crate) spec: TaskSpec,
    pub(crate) attachments: Vec<Attachment>,
    /// Names of the networks by id, for `docker inspect` after they are gone.
    pub(crate) network_names: BTreeMap<NetworkId, String>,
}

/// The directory of all records.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    root: PathBuf,
}

impl Records {
    /// Uses (and makes) `<data-root>/containers`.
    pub(crate) fn open(data_root: &Path) -> io::Result<Self> {
        let root = data_root.join("containers");
        std::fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    /// The directory of one container.
    pub(crate) fn directory(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// The log of one container, in Docker's place.
    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        self.directory(id).join(format!("{id}-json.log"))
    }

    /// Keeps a record.
    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let directory = self.directory(&record.id);
        std::fs::create_dir_all(&directory)?;
        disk::write_json(&directory.join("record.json"), record)
    }

    /// One record, if it is there.
    pub(crate) fn read(&self, id: &str) -> io::Result<Option<Record>> {
        disk::read_json(&self.directory(id).join("record.json"))
    }

    /// All records that can be read; damaged ones are logged and left out.
    pub(crate) fn all(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let id = entry?.file_name().to_string_lossy().into_owned();
            match self.read(&id) {
                Ok(record) => records.extend(record),
                Err(error) => tracing::warn!(container = id, %error, "unreadable record"),
            }
        }
        Ok(records)
    }

    /// Removes a container's directory: record, log, and all that it wrote.
    pub(crate) fn remove(&self, id: &str) -> io::Result<()> {
        match std::fs::remove_dir_all(self.directory(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}
