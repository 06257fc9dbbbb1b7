//! The image store as its users see it.

use crate::error::Error;
use crate::find::{describe, find};
use crate::image::{Distribution, Image, PullOutcome, Removed, Usage};
use crate::import::{Import, import};
use crate::load::load;
use crate::progress::Progress;
use crate::pull;
use crate::push;
use crate::registry_auth::RegistryAuth;
use crate::remove::remove;
use crate::root_layers::root_layers;
use crate::save::save;
use crate::store::{Catalogue, Store};
use shoal_model::image_reference::ImageReference;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::SyncIoBridge;

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
    store: Arc<Store>,
    /// Pulls in progress, so that several tasks that want the same image fetch it once.
    pulls: Arc<Mutex<BTreeMap<ImageReference, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Images {
    /// Opens the store below `root` (`<data-root>/images`), makes it where there is none, and removes what interrupted
    /// work has left. One process at a time may have it open.
    pub fn open(root: PathBuf) -> Result<Self, Error> {
        Self::open_with(root, Settings::default())
    }

    /// As [`Images::open`], with settings.
    pub fn open_with(root: PathBuf, settings: Settings) -> Result<Self, Error> {
        Ok(Self { store: Arc::new(Store::open(root, settings)?), pulls: Arc::default() })
    }

    /// Every image, newest first.
    #[allow(clippy::unused_async, reason = "a store that has to read for this may come")]
    pub async fn list(&self) -> Vec<Image> {
        let catalogue = self.store.catalogue();
        let mut images: Vec<Image> =
            catalogue.index.images.keys().filter_map(|id| describe(&catalogue, id)).collect();
        images.sort_by(|one, other| (other.created, &other.id).cmp(&(one.created, &one.id)));
        images
    }

    /// The image with this name (`name[:tag]`, `name@digest`), id, or unique beginning of an id.
    #[allow(clippy::unused_async, reason = "a store that has to read for this may come")]
    pub async fn find(&self, reference_or_id: &str) -> Result<Image, Error> {
        let catalogue = self.store.catalogue();
        let id = find(&catalogue, reference_or_id)?;
        describe(&catalogue, &id).ok_or_else(|| Error::NotFound { reference: reference_or_id.to_owned() })
    }

    /// Takes in an archive of `docker save` or an OCI layout, plain or compressed. Returns the names, and the ids of
    /// images without one, as told in `progress`.
    ///
    /// Dropping the future does not end the work at once; the end of `tar` does.
    pub async fn load(
        &self,
        tar: impl AsyncRead + Send + Unpin + 'static,
        progress: Progress,
    ) -> Result<Vec<String>, Error> {
        let (store, tar) = (Arc::clone(&self.store), SyncIoBridge::new(tar));
        blocking(move || load(&store, tar, &progress)).await
    }

    /// Makes an image of one layer from an archive of a file system. `changes` are Dockerfile instructions such as
    /// `CMD ["/bin/sh"]`. Returns the image's id.
    pub async fn import(
        &self,
        tar: impl AsyncRead + Send + Unpin + 'static,
        repo: Option<ImageReference>,
        message: &str,
        changes: &[String],
        progress: Progress,
    ) -> Result<String, Error> {
        let (store, tar) = (Arc::clone(&self.store), SyncIoBridge::new(tar));
        let (message, changes) = (message.to_owned(), changes.to_vec());
        blocking(move || {
            let wanted = Import { name: repo, message: &message, changes: &changes };
            import(&store, tar, &wanted, &progress)
        })
        .await
    }

    /// Writes images as an archive that [`Images::load`], Docker and OCI tools read. Unknown names are an error before
    /// the first byte.
    pub async fn save(
        &self,
        names: &[String],
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), Error> {
        let (store, names) = (Arc::clone(&self.store), names.to_vec());
        let mut writer = SyncIoBridge::new(writer);
        blocking(move || {
            save(&store, &names, &mut writer)?;
            writer.shutdown().map_err(Error::io("write the archive"))
        })
        .await
    }

    /// Fetches an image for this machine's platform from its registry. A name with a digest that is already here is
    /// taken as it is, without asking.
    pub async fn pull(
        &self,
        reference: &ImageReference,
        auth: Option<RegistryAuth>,
        progress: Progress,
    ) -> Result<PullOutcome, Error> {
        let turn = self.turn_to_pull(reference);
        let _turn = turn.lock().await;
        pull::pull(Arc::clone(&self.store), reference, auth.as_ref(), &progress).await
    }

    fn turn_to_pull(&self, reference: &ImageReference) -> Arc<tokio::sync::Mutex<()>> {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = pulls.get(reference).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        pulls.insert(reference.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Sends an image to the registry that its name tells. Returns the digest of its manifest.
    pub async fn push(
        &self,
        reference: &ImageReference,
        auth: Option<RegistryAuth>,
        progress: Progress,
    ) -> Result<String, Error> {
        push::push(Arc::clone(&self.store), reference, auth.as_ref(), &progress).await
    }

    /// What the registry has under a name; fails within three seconds where it cannot be reached.
    pub async fn resolve(
        &self,
        reference: &ImageReference,
        auth: Option<RegistryAuth>,
    ) -> Result<Distribution, Error> {
        pull::resolve(&self.store, reference, auth.as_ref()).await
    }

    /// Gives the image `source` (name or id) the name `target` too, taking it from another image that may have it.
    pub async fn tag(&self, source: &str, target: &ImageReference) -> Result<(), Error> {
        if target.digest.is_some() {
            return Err(Error::Invalid("refusing to create a tag with a digest reference".into()));
        }
        let (store, source, target) = (Arc::clone(&self.store), source.to_owned(), target.clone());
        blocking(move || {
            let change = store.change();
            let mut catalogue = Catalogue::clone(&store.catalogue());
            let id = find(&catalogue, &source)?;
            catalogue.index.names.insert(target, id);
            change.set(catalogue)
        })
        .await
    }

    /// Removes a name, and the image with its last name, by Docker's rules. `in_use` tells who uses an image (by id); a
    /// running container before one that does not run. An image that a stopped container uses keeps existing without a
    /// name when forced.
    pub async fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &(dyn Fn(&str) -> Option<Usage> + Sync),
    ) -> Result<Vec<Removed>, Error> {
        // `in_use` may borrow, so it is asked here; the answer is for the image that the name means now.
        let id = find(&self.store.catalogue(), name)?.to_string();
        let usage = in_use(&id);
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        blocking(move || remove(&store, &name, force, &id, usage.as_ref())).await
    }

    /// The directories of an image's unpacked layers, highest first, as an overlay's lower directories; unpacks what is
    /// missing.
    pub async fn root_layers(&self, image_id: &str) -> Result<Vec<PathBuf>, Error> {
        let (store, image) = (Arc::clone(&self.store), image_id.to_owned());
        blocking(move || root_layers(&store, &image)).await
    }
}

/// Runs work that waits for disks where it may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::io("finish: the daemon is stopping")(error.into())),
    }
}
