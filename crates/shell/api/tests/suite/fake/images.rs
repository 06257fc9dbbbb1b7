//! Images of the fake daemon.

use super::{Asked, Fake, IMAGE_ID, NOW};
use async_trait::async_trait;
use futures::StreamExt;
use shoal_api::backend::{Bytes, Images, Stream};
use shoal_model::image_reference::ImageReference;
use shoal_wire::ApiError;
use shoal_wire::image::{Distribution, HistoryEntry, Image, ImportOptions, Pruned, Removed};
use shoal_wire::progress::Progress;
use shoal_wire::registry_auth::RegistryAuth;

fn told(messages: Vec<Result<Progress, ApiError>>) -> Stream<Progress> {
    futures::stream::iter(messages).boxed()
}

async fn count(mut archive: Bytes) -> Result<usize, ApiError> {
    let mut bytes = 0;
    while let Some(part) = archive.next().await {
        bytes += part?.len();
    }
    Ok(bytes)
}

#[async_trait]
impl Images for Fake {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        Ok(vec![Image {
            id: IMAGE_ID.into(),
            tags: vec!["whoami:latest".into()],
            created: shoal_model::Timestamp(NOW.0 - 3 * 86_400_000_000_000),
            size_bytes: 5_000_000,
            architecture: "amd64".into(),
            os: "linux".into(),
            ..Image::default()
        }])
    }

    async fn image_history(&self, id: &str) -> Result<Vec<HistoryEntry>, ApiError> {
        Ok(vec![HistoryEntry {
            id: id.into(),
            created: NOW,
            created_by: "ADD whoami".into(),
            ..Default::default()
        }])
    }

    async fn pull_image(
        &self,
        reference: ImageReference,
        _: String,
        _: Option<RegistryAuth>,
    ) -> Result<Stream<Progress>, ApiError> {
        if reference.path.contains("missing") {
            return Err(ApiError::not_found(format!("manifest for {} not found", reference.familiar())));
        }
        Ok(told(vec![
            Ok(Progress::status(format!("Pulling from {}", reference.path))),
            Ok(Progress::layer("0123456789ab", "Pull complete", None)),
            Ok(Progress::status(format!("Status: Downloaded newer image for {}", reference.familiar()))),
        ]))
    }

    async fn push_image(
        &self,
        _: ImageReference,
        _: Option<RegistryAuth>,
    ) -> Result<Stream<Progress>, ApiError> {
        Ok(told(vec![
            Ok(Progress::status("The push refers to repository [r:5000/a]")),
            Err(ApiError::internal("the registry is not there")),
        ]))
    }

    async fn load_images(&self, archive: Bytes, _: bool) -> Result<Stream<Progress>, ApiError> {
        let bytes = count(archive).await?;
        self.note(Asked::Load(bytes));
        Ok(told(vec![Ok(Progress::text("Loaded image: whoami:latest\n"))]))
    }

    async fn import_image(
        &self,
        archive: Bytes,
        options: ImportOptions,
    ) -> Result<Stream<Progress>, ApiError> {
        let bytes = count(archive).await?;
        self.note(Asked::Import(bytes, options.reference));
        Ok(told(vec![Ok(Progress::status(IMAGE_ID))]))
    }

    async fn save_images(&self, names: Vec<String>) -> Result<Bytes, ApiError> {
        Ok(futures::stream::iter([Ok(bytes::Bytes::from(names.join("+")))]).boxed())
    }

    async fn tag_image(&self, _: &str, _: ImageReference) -> Result<(), ApiError> {
        Ok(())
    }

    async fn remove_image(&self, name: &str, _: bool) -> Result<Vec<Removed>, ApiError> {
        Ok(vec![Removed::Untagged(name.to_owned()), Removed::Deleted(IMAGE_ID.to_owned())])
    }

    async fn prune_images(&self, _: bool) -> Result<Pruned, ApiError> {
        Ok(Pruned::default())
    }

    async fn distribution(
        &self,
        _: ImageReference,
        _: Option<RegistryAuth>,
    ) -> Result<Distribution, ApiError> {
        Err(ApiError::internal("the registry cannot be reached"))
    }
}
