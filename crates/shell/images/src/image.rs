//! An image as its users see it.

use crate::configuration::{ContainerConfig, History};
use shoal_model::Timestamp;

/// One image of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `sha256:…`, the digest of its configuration.
    pub id: String,
    /// Familiar names with tag (`busybox:latest`).
    pub repo_tags: Vec<String>,
    /// Familiar names with digest (`busybox@sha256:…`), known after a pull or push.
    pub repo_digests: Vec<String>,
    /// When it was built; never where it does not say.
    pub created: Timestamp,
    /// Bytes of all files of its layers, unpacked.
    pub size: u64,
    /// What its containers get unless told otherwise.
    pub config: ContainerConfig,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v8`, …; usually empty.
    pub variant: String,
    /// `linux`
    pub os: String,
    /// Who made it.
    pub author: String,
    /// What was said when it was committed or imported.
    pub comment: String,
    /// Digests of its layers unpacked, lowest first.
    pub diff_ids: Vec<String>,
    /// How it was built, oldest first.
    pub history: Vec<History>,
    /// Unpacked bytes of each layer, in the order of `diff_ids`.
    pub layer_sizes: Vec<u64>,
}

/// One line of what a removal did, in Docker's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name that is gone.
    Untagged(String),
    /// An image or layer that is gone (`sha256:…`).
    Deleted(String),
}

/// Who uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Id of the container.
    pub container: String,
    /// Whether it runs: then not even force removes the image.
    pub running: bool,
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullOutcome {
    /// The image that the name now means.
    pub id: String,
    /// Digest of what the registry has under the name (the list of platforms, where it is one).
    pub digest: String,
    /// Whether the name meant this image before.
    pub already_there: bool,
}

/// What a registry has under a name, for `GET /distribution/{name}/json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Media type of the manifest or list.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// What it can run on.
    pub platforms: Vec<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `amd64`, …
    pub architecture: String,
    /// `linux`, …
    pub os: String,
    /// `v8`, …; usually empty.
    pub variant: String,
}
