//! The image store as its users see it.

use crate::error::Error;
use crate::image::{Distribution, Image, PullOutcome, Removed, Usage};
use crate::progress::Progress;
use crate::registry_auth::RegistryAuth;
use shoal_model::image_reference::ImageReference;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a store is told when it is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Registries spoken to without a checked certificate, over plain HTTP where they have no TLS: `host[:port]` or
    /// networks such as `10.0.0.0/8`. Loopback always is.
    pub insecure_registries: Vec<String>,
    /// Most bytes that the layers of one image may unpack to.
    pub unpacked_bytes: u64,
    /// Most entries that one layer may have.
    pub entries: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { insecure_registries: Vec::new(), unpacked_bytes: 256 << 30, entries: 4_000_000 }
    }
}

/// The images of this host. Cheap to clone; every clone is the same store.
#[derive(Clone)]
pub struct Images {
    root: Arc<PathBuf>,
}

impl Images {
    /// Opens the store below `root` (`<data-root>/images`), makes it where there is none, and removes what interrupted
    /// work has left. One process at a time may have it open.
    pub fn open(root: PathBuf) -> Result<Self, Error> {
        Self::open_with(root, Settings::default())
    }

    /// As [`Images::open`], with settings.
    pub fn open_with(_root: PathBuf, _settings: Settings) -> Result<Self, Error> {
        todo!()
    }

    /// Every image, newest first.
    pub async fn list(&self) -> Vec<Image> {
        todo!()
    }

    /// The image with this name (`name[:tag]`, `name@digest`), id, or unique beginning of an id.
    pub async fn find(&self, _reference_or_id: &str) -> Result<Image, Error> {
        todo!()
    }

    /// Takes in an archive of `docker save` or an OCI layout, plain or compressed. Returns the names, and the ids of
    /// images without one, as told in `progress`.
    pub async fn load(
        &self,
        _tar: impl AsyncRead + Send + Unpin + 'static,
        _progress: Progress,
    ) -> Result<Vec<String>, Error> {
        todo!()
    }

    /// Makes an image of one layer from an archive of a file system. `changes` are Dockerfile instructions such as
    /// `CMD ["/bin/sh"]`. Returns the image's id.
    pub async fn import(
        &self,
        _tar: impl AsyncRead + Send + Unpin + 'static,
        _repo: Option<ImageReference>,
        _message: &str,
        _changes: &[String],
        _progress: Progress,
    ) -> Result<String, Error> {
        todo!()
    }

    /// Writes images as an archive that [`Images::load`], Docker and OCI tools read.
    pub async fn save(
        &self,
        _names: &[String],
        _writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Fetches an image for this machine's platform from its registry.
    pub async fn pull(
        &self,
        _reference: &ImageReference,
        _auth: Option<RegistryAuth>,
        _progress: Progress,
    ) -> Result<PullOutcome, Error> {
        todo!()
    }

    /// Sends an image to the registry that its name tells. Returns the digest of its manifest.
    pub async fn push(
        &self,
        _reference: &ImageReference,
        _auth: Option<RegistryAuth>,
        _progress: Progress,
    ) -> Result<String, Error> {
        todo!()
    }

    /// What the registry has under a name; fails within three seconds where it cannot be reached.
    pub async fn resolve(
        &self,
        _reference: &ImageReference,
        _auth: Option<RegistryAuth>,
    ) -> Result<Distribution, Error> {
        todo!()
    }

    /// Gives the image `source` (name or id) the name `target` too, taking it from another image that may have it.
    pub async fn tag(&self, _source: &str, _target: &ImageReference) -> Result<(), Error> {
        todo!()
    }

    /// Removes a name, and the image with its last name, by Docker's rules. `in_use` tells who uses an image (by id).
    pub async fn remove(
        &self,
        _name: &str,
        _force: bool,
        _in_use: &(dyn Fn(&str) -> Option<Usage> + Sync),
    ) -> Result<Vec<Removed>, Error> {
        todo!()
    }

    /// The directories of an image's unpacked layers, highest first, as an overlay's lower directories; unpacks what is
    /// missing.
    pub async fn root_layers(&self, _image_id: &str) -> Result<Vec<PathBuf>, Error> {
        todo!()
    }
}
