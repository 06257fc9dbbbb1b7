//! Images of this host, and registries.

use super::{Backend, internal};
use crate::engine::Engine;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use shoal_api::backend::{Bytes, Images, Stream};
use shoal_images::{ErrorKind, Progress as Sender, Usage};
use shoal_model::Timestamp;
use shoal_model::assignment::ContainerState;
use shoal_model::image_reference::ImageReference;
use shoal_model::spec::{HealthConfig, Platform};
use shoal_wire::ApiError;
use shoal_wire::error::Status;
use shoal_wire::image::{Distribution, HistoryEntry, Image, ImageConfig, ImportOptions, Pruned, Removed};
use shoal_wire::progress::{Progress, ProgressDetail};
use shoal_wire::registry_auth::RegistryAuth;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::io::{ReaderStream, StreamReader};

/// Bytes of an archive held in memory while it is written and sent.
const ARCHIVE_BUFFER: usize = 256 * 1024;

#[async_trait]
impl Images for Backend {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        let users = users(&self.engine)?;
        let images = self.engine.images.list().await;
        Ok(images
            .iter()
            .map(|image| {
                let containers = users.get(&image.id).map_or(0, |used| used.len() as u64);
                Image { containers: Some(containers), ..wire_image(image) }
            })
            .collect())
    }

    async fn image_history(&self, id: &str) -> Result<Vec<HistoryEntry>, ApiError> {
        let image = self.engine.images.find(id).await.map_err(|e| image_error(&e))?;
        Ok(history(&image))
    }

    async fn pull_image(
        &self,
        reference: ImageReference,
        platform: String,
        auth: Option<RegistryAuth>,
    ) -> Result<Stream<Progress>, ApiError> {
        check_platform(&platform)?;
        let (images, auth) = (self.engine.images.clone(), auth.map(credentials));
        let engine = self.engine.clone();
        Ok(with_progress(move |progress| async move {
            let outcome = images.pull(&reference, auth, progress).await?;
            engine.events.local(
                "image",
                "pull",
                &reference.familiar(),
                [("name", reference.familiar_name())],
            );
            engine.wake.notify_one();
            tracing::info!(image = reference.familiar(), digest = outcome.digest, "pulled");
            Ok(Vec::new())
        }))
    }

    async fn push_image(
        &self,
        reference: ImageReference,
        auth: Option<RegistryAuth>,
    ) -> Result<Stream<Progress>, ApiError> {
        let (images, auth) = (self.engine.images.clone(), auth.map(credentials));
        images.find(&reference.to_string()).await.map_err(|e| image_error(&e))?;
        Ok(with_progress(move |progress| async move {
            images.push(&reference, auth, progress).await?;
            Ok(Vec::new())
        }))
    }

    async fn load_images(&self, archive: Bytes, _quiet: bool) -> Result<Stream<Progress>, ApiError> {
        let (images, engine) = (self.engine.images.clone(), self.engine.clone());
        Ok(with_progress(move |progress| async move {
            let names = images.load(reader(archive), progress).await?;
            for name in names {
                engine.events.local("image", "load", &name, [("name", name.clone())]);
            }
            engine.wake.notify_one();
            Ok(Vec::new())
        }))
    }

    async fn import_image(
        &self,
        archive: Bytes,
        options: ImportOptions,
    ) -> Result<Stream<Progress>, ApiError> {
        check_platform(&options.platform)?;
        let reference = options.reference.as_deref().map(str::parse::<ImageReference>).transpose();
        let reference = reference.map_err(|e| ApiError::bad_request(e.to_string()))?;
        let images = self.engine.images.clone();
        Ok(with_progress(move |_progress| async move {
            let id = images
                .import(reader(archive), reference, &options.message, &options.changes, Sender::none())
                .await?;
            Ok(vec![Progress::status(id)])
        }))
    }

    async fn save_images(&self, names: Vec<String>) -> Result<Bytes, ApiError> {
        for name in &names {
            self.engine.images.find(name).await.map_err(|e| image_error(&e))?;
        }
        let (reading, writing) = tokio::io::duplex(ARCHIVE_BUFFER);
        let images = self.engine.images.clone();
        self.engine.supervisor.spawn(async move {
            if let Err(error) = images.save(&names, writing).await {
                tracing::warn!(error = error.report(), "an archive was not written to its end");
            }
        });
        Ok(ReaderStream::new(reading).map_err(internal).boxed())
    }

    async fn tag_image(&self, id: &str, reference: ImageReference) -> Result<(), ApiError> {
        self.engine.images.tag(id, &reference).await.map_err(|e| image_error(&e))?;
        self.engine.events.local("image", "tag", id, [("name", reference.familiar())]);
        Ok(())
    }

    async fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, ApiError> {
        let users = users(&self.engine)?;
        let in_use = |id: &str| users.get(id).and_then(|used| used.first()).cloned();
        let removed = self.engine.images.remove(name, force, &in_use).await.map_err(|e| image_error(&e))?;
        Ok(removed.into_iter().map(wire_removed).collect())
    }

    async fn prune_images(&self, dangling: bool) -> Result<Pruned, ApiError> {
        let users = users(&self.engine)?;
        let mut pruned = Pruned::default();
        for image in self.engine.images.list().await {
            if users.contains_key(&image.id) || (dangling && !image.repo_tags.is_empty()) {
                continue;
            }
            let removed =
                self.engine.images.remove(&image.id, true, &|_| None).await.map_err(|e| image_error(&e))?;
            pruned.bytes += image.size;
            pruned.removed.extend(removed.into_iter().map(wire_removed));
        }
        Ok(pruned)
    }

    async fn distribution(
        &self,
        reference: ImageReference,
        auth: Option<RegistryAuth>,
    ) -> Result<Distribution, ApiError> {
        let found = self
            .engine
            .images
            .resolve(&reference, auth.map(credentials))
            .await
            .map_err(|e| image_error(&e))?;
        let platform = |p: shoal_images::Platform| Platform { architecture: p.architecture, os: p.os };
        Ok(Distribution {
            media_type: found.media_type,
            digest: found.digest,
            size: found.size,
            platforms: found.platforms.into_iter().map(platform).collect(),
        })
    }
}

/// Makes sure that a task's image is here; answers Docker's words for a task whose image is not to be had.
pub(crate) async fn fetch(engine: &Engine, image: &str, auth: Option<&str>) -> Result<(), String> {
    if engine.images.find(image).await.is_ok() {
        return Ok(());
    }
    let reference: ImageReference = image.parse().map_err(|e| format!("{e}"))?;
    let auth = auth.map(shoal_images::RegistryAuth::parse).transpose().map_err(|e| e.report())?.flatten();
    match engine.images.pull(&reference, auth, Sender::none()).await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(image, error = error.report(), "the image cannot be fetched");
            Err(format!("No such image: {}", reference.familiar()))
        }
    }
}

/// Who uses each image, those that run first.
fn users(engine: &Engine) -> Result<BTreeMap<String, Vec<Usage>>, ApiError> {
    let view = engine.view.borrow().clone();
    let running = |id: &str| {
        view.observed
            .containers
            .values()
            .any(|c| c.id == id && matches!(c.state, ContainerState::Running { .. }))
    };
    let mut users: BTreeMap<String, Vec<Usage>> = BTreeMap::new();
    for record in engine.records.all().map_err(internal)? {
        let usage = Usage { running: running(&record.id), container: record.id };
        users.entry(record.image_id).or_default().push(usage);
    }
    for used in users.values_mut() {
        used.sort_by_key(|u| !u.running);
    }
    Ok(users)
}

/// Runs an operation and streams what it tells; what it answers comes last, and an error is the stream's error.
fn with_progress<F>(operation: impl FnOnce(Sender) -> F + Send + 'static) -> Stream<Progress>
where
    F: Future<Output = Result<Vec<Progress>, shoal_images::Error>> + Send + 'static,
{
    let (sender, receiver) = Sender::channel();
    let told = UnboundedReceiverStream::new(receiver).map(|message| Ok(wire_progress(message)));
    let running = tokio::task::spawn(operation(sender));
    let end = stream::once(running).flat_map(|outcome| {
        let last = match outcome {
            Ok(Ok(messages)) => messages.into_iter().map(Ok).collect(),
            Ok(Err(error)) => vec![Err(image_error(&error))],
            Err(panicked) => vec![Err(internal(panicked))],
        };
        stream::iter(last)
    });
    told.chain(end).boxed()
}

fn reader(archive: Bytes) -> impl tokio::io::AsyncRead + Send + Unpin + 'static {
    StreamReader::new(archive.map_err(|e| io::Error::other(e.message)))
}

fn credentials(auth: RegistryAuth) -> shoal_images::RegistryAuth {
    shoal_images::RegistryAuth {
        username: auth.username,
        password: auth.password,
        server_address: auth.serveraddress,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
    }
}

/// Images of other platforms cannot run here.
fn check_platform(platform: &str) -> Result<(), ApiError> {
    let mut parts = platform.split('/');
    let (os, arch) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let known = ["", "linux"].contains(&os);
    if known && (arch.is_empty() || shoal_model::constraint::same_arch(arch, std::env::consts::ARCH)) {
        return Ok(());
    }
    Err(ApiError::not_implemented(format!(
        "platform {platform:?} is not this host's: others are not built yet"
    )))
}

pub(crate) fn image_error(error: &shoal_images::Error) -> ApiError {
    let status = match error.kind() {
        ErrorKind::NotFound => Status::NotFound,
        ErrorKind::InvalidArgument => Status::BadRequest,
        ErrorKind::Conflict => Status::Conflict,
        ErrorKind::Unauthorized => Status::Unauthorized,
        ErrorKind::Unavailable => Status::Unavailable,
        ErrorKind::Other => Status::Internal,
    };
    ApiError::new(status, error.report())
}

fn wire_progress(message: shoal_images::Message) -> Progress {
    let detail = |d: shoal_images::ProgressDetail| ProgressDetail { current: d.current, total: d.total };
    Progress {
        stream: message.stream,
        status: message.status,
        progress_detail: message.progress_detail.map(detail),
        id: message.id,
        progress: message.progress,
        aux: message.aux,
    }
}

fn wire_removed(removed: shoal_images::Removed) -> Removed {
    match removed {
        shoal_images::Removed::Untagged(name) => Removed::Untagged(name),
        shoal_images::Removed::Deleted(id) => Removed::Deleted(id),
    }
}

/// An image as the API shows it.
pub(crate) fn wire_image(image: &shoal_images::Image) -> Image {
    let config = &image.config;
    let health = |h: &shoal_images::Healthcheck| HealthConfig {
        test: h.test.clone(),
        interval: h.interval,
        timeout: h.timeout,
        start_period: h.start_period,
        start_interval: h.start_interval,
        retries: h.retries,
    };
    Image {
        id: image.id.clone(),
        tags: image.repo_tags.clone(),
        digests: image.repo_digests.clone(),
        created: image.created,
        size_bytes: image.size,
        author: image.author.clone(),
        comment: image.comment.clone(),
        architecture: image.architecture.clone(),
        variant: image.variant.clone(),
        os: image.os.clone(),
        config: ImageConfig {
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            env: config.env.clone(),
            working_dir: config.working_dir.clone(),
            user: config.user.clone(),
            labels: config.labels.clone(),
            exposed_ports: config.exposed_ports.clone(),
            volumes: config.volumes.clone(),
            stop_signal: config.stop_signal.clone(),
            healthcheck: config.healthcheck.as_ref().map(health),
        },
        layers: image.diff_ids.clone(),
        containers: None,
        last_tagged: Timestamp::default(),
    }
}

/// Steps of an image, newest first; those that made a layer have its size.
fn history(image: &shoal_images::Image) -> Vec<HistoryEntry> {
    let mut sizes = image.layer_sizes.iter().copied();
    let mut entries: Vec<HistoryEntry> = image
        .history
        .iter()
        .map(|step| HistoryEntry {
            id: "<missing>".to_owned(),
            created: step.created.parse().unwrap_or_default(),
            created_by: step.created_by.clone(),
            tags: Vec::new(),
            size_bytes: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
            comment: step.comment.clone(),
        })
        .collect();
    if let Some(last) = entries.last_mut() {
        last.id.clone_from(&image.id);
        last.tags.clone_from(&image.repo_tags);
    }
    entries.reverse();
    entries
}
