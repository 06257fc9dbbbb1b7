//! Images.

use shoal_model::Timestamp;
use shoal_model::spec::{HealthConfig, Labels, Platform};

/// What the daemon knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// Its names in familiar form (`whoami:latest`).
    pub tags: Vec<String>,
    /// Its names by digest in familiar form (`busybox@sha256:…`).
    pub digests: Vec<String>,
    /// When it was made; never if unknown.
    pub created: Timestamp,
    /// Bytes of its unpacked layers.
    pub size_bytes: u64,
    /// Its author.
    pub author: String,
    /// A comment.
    pub comment: String,
    /// Kernel's or Go's name of the processor, as in its configuration.
    pub architecture: String,
    /// Variant of the processor.
    pub variant: String,
    /// Operating system.
    pub os: String,
    /// How containers are made from it.
    pub config: ImageConfig,
    /// Digests of its unpacked layers, lowest first.
    pub layers: Vec<String>,
    /// Containers made from it; absent if not counted.
    pub containers: Option<u64>,
    /// When its names last changed.
    pub last_tagged: Timestamp,
}

/// How containers are made from an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Command.
    pub cmd: Vec<String>,
    /// `KEY=value` pairs.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// `user[:group]`
    pub user: String,
    /// Labels.
    pub labels: Labels,
    /// Ports, `8000/tcp`.
    pub exposed_ports: Vec<String>,
    /// Paths of volumes.
    pub volumes: Vec<String>,
    /// Signal that asks its containers to end.
    pub stop_signal: String,
    /// Health probe.
    pub healthcheck: Option<HealthConfig>,
}

/// One step of an image's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryEntry {
    /// Image id of this step, or `<missing>`.
    pub id: String,
    /// When.
    pub created: Timestamp,
    /// What made it.
    pub created_by: String,
    /// Names of this step.
    pub tags: Vec<String>,
    /// Bytes added.
    pub size_bytes: u64,
    /// A comment.
    pub comment: String,
}

/// What removing a name of an image did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name went.
    Untagged(String),
    /// An image or layer went.
    Deleted(String),
}

/// What a registry says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    /// Media type of the manifest or index.
    pub media_type: String,
    /// Its digest, `sha256:…`.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
    /// Platforms that it has images for (`amd64`, `linux`).
    pub platforms: Vec<Platform>,
}

/// Options of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportOptions {
    /// The name to give it, `repository[:tag]`; absent for none.
    pub reference: Option<String>,
    /// Comment for the history.
    pub message: String,
    /// Dockerfile instructions to apply (`CMD …`, `ENV …`).
    pub changes: Vec<String>,
    /// `linux/amd64`; empty means the host's.
    pub platform: String,
}

/// What pruning images freed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// What went.
    pub removed: Vec<Removed>,
    /// Bytes freed.
    pub bytes: u64,
}
