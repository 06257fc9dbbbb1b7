//! Images of this host, and registries.

use super::{Bytes, Stream};
use async_trait::async_trait;
use shoal_model::image_reference::ImageReference;
use shoal_wire::ApiError;
use shoal_wire::image::{Distribution, HistoryEntry, Image, ImportOptions, Pruned, Removed};
use shoal_wire::progress::Progress;
use shoal_wire::registry_auth::RegistryAuth;

/// Images of this host, and registries.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// All images.
    async fn images(&self) -> Result<Vec<Image>, ApiError>;

    /// An image's history, newest step first. `id` is `sha256:…`.
    async fn image_history(&self, id: &str) -> Result<Vec<HistoryEntry>, ApiError>;

    /// Fetches an image. `platform` is `linux/amd64` or empty.
    async fn pull_image(
        &self,
        reference: ImageReference,
        platform: String,
        auth: Option<RegistryAuth>,
    ) -> Result<Stream<Progress>, ApiError>;

    /// Sends an image to its registry.
    async fn push_image(
        &self,
        reference: ImageReference,
        auth: Option<RegistryAuth>,
    ) -> Result<Stream<Progress>, ApiError>;

    /// Takes in an archive made by `docker save` (or an OCI layout), compressed or not.
    async fn load_images(&self, archive: Bytes, quiet: bool) -> Result<Stream<Progress>, ApiError>;

    /// Makes an image of a root file system's archive. The last message's status is the new id.
    async fn import_image(
        &self,
        archive: Bytes,
        options: ImportOptions,
    ) -> Result<Stream<Progress>, ApiError>;

    /// The archive of images; `names` are names or ids as the client sent them.
    async fn save_images(&self, names: Vec<String>) -> Result<Bytes, ApiError>;

    /// Gives an image another name.
    async fn tag_image(&self, id: &str, reference: ImageReference) -> Result<(), ApiError>;

    /// Removes a name of an image, and the image with its last name; `name` as the client sent it.
    async fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, ApiError>;

    /// Removes images without names (`dangling`) or without containers.
    async fn prune_images(&self, dangling: bool) -> Result<Pruned, ApiError>;

    /// What the registry says of an image. Must fail fast when the registry cannot be reached.
    async fn distribution(
        &self,
        reference: ImageReference,
        auth: Option<RegistryAuth>,
    ) -> Result<Distribution, ApiError>;
}
