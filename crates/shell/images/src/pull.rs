//! Fetching an image.

use crate::digest::Digest;
use crate::error::Error;
use crate::image::{Distribution, Platform, PullOutcome};
use crate::images::blocking;
use crate::index::kept_name;
use crate::ingest::{CheckedLayer, Intake, LONGEST_CONFIGURATION, LayerSource, parse_configuration};
use crate::manifest::{Document, Manifest, OCI_INDEX, for_this_machine};
use crate::progress::{Message, Progress};
use crate::registry::Registry;
use crate::registry_auth::RegistryAuth;
use crate::store::Store;
use futures::{StreamExt, TryStreamExt, stream};
use oci_client::RegistryOperation;
use shoal_model::image_reference::ImageReference;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Layers that are fetched at one time, as Docker's default.
const AT_ONE_TIME: usize = 3;
/// Most layers of an image, as Docker's.
const MOST_LAYERS: usize = 127;
/// How long it may take to learn what a registry has.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(3);

/// Fetches `name` for this machine.
pub(crate) async fn pull(
    store: Arc<Store>,
    name: &ImageReference,
    auth: Option<&RegistryAuth>,
    progress: &Progress,
) -> Result<PullOutcome, Error> {
    let before = store.catalogue().index.names.get(&kept_name(name)).copied();
    if let (Some(id), Some(digest)) = (before, &name.digest) {
        // A digest never means anything else, so the registry need not be asked.
        progress.status(format!("Digest: {digest}"));
        progress.status(format!("Status: Image is up to date for {}", name.familiar()));
        return Ok(PullOutcome { id: id.to_string(), digest: digest.clone(), already_there: true });
    }
    let registry =
        Registry::connect(name, auth, RegistryOperation::Pull, &store.settings.insecure_registries).await?;
    let top = registry.document().await?;
    let digest = Digest::of(&top);
    if let Some(wanted) = name.digest.as_ref().filter(|wanted| **wanted != digest.to_string()) {
        return Err(Error::InvalidImage(format!("the registry sent another manifest than {wanted}")));
    }
    let shown = name.digest.clone().or_else(|| name.tag.clone());
    progress.send(Message {
        status: Some(format!("Pulling from {}", name.path)),
        id: shown,
        ..Message::default()
    });
    let (bytes, manifest) = manifest_for_this_machine(&registry, top).await?;
    let id = fetch(&store, &registry, (bytes, manifest), names(name, digest), progress).await?;
    let already_there = before == Some(id);
    progress.status(format!("Digest: {digest}"));
    let what = if already_there { "Image is up to date" } else { "Downloaded newer image" };
    progress.status(format!("Status: {what} for {}", name.familiar()));
    Ok(PullOutcome { id: id.to_string(), digest: digest.to_string(), already_there })
}

/// The names that a pulled image gets: its digest, and the tag where it was asked for by tag.
fn names(name: &ImageReference, digest: Digest) -> Vec<ImageReference> {
    let by_digest = ImageReference { tag: None, digest: Some(digest.to_string()), ..name.clone() };
    let by_tag = name.digest.is_none().then(|| name.clone());
    by_tag.into_iter().chain([by_digest]).collect()
}

async fn manifest_for_this_machine(registry: &Registry, top: Vec<u8>) -> Result<(Vec<u8>, Manifest), Error> {
    match Document::parse(&top)? {
        Document::Manifest(manifest) => Ok((top, manifest)),
        Document::Index(index) => {
            let bytes = registry.document_by_digest(&for_this_machine(&index.manifests)?.digest).await?;
            match Document::parse(&bytes)? {
                Document::Manifest(manifest) => Ok((bytes, manifest)),
                Document::Index(_) => Err(Error::InvalidImage("a list of lists of manifests".into())),
            }
        }
    }
}

/// Fetches what is missing of an image, checks all of it, and puts it in place under `names`.
async fn fetch(
    store: &Arc<Store>,
    registry: &Registry,
    (bytes, manifest): (Vec<u8>, Manifest),
    names: Vec<ImageReference>,
    progress: &Progress,
) -> Result<Digest, Error> {
    let configuration = registry.small_blob(&manifest.config, LONGEST_CONFIGURATION).await?;
    let (_, diff_ids) = parse_configuration(&configuration)?;
    if diff_ids.len() != manifest.layers.len() || diff_ids.len() > MOST_LAYERS {
        let counts = (diff_ids.len(), manifest.layers.len());
        let why = format!("its configuration names {} layers, its manifest {}", counts.0, counts.1);
        return Err(Error::InvalidImage(why));
    }
    let opening = Arc::clone(store);
    let mut intake = blocking(move || Intake::new(&opening)).await?;
    let paths = fetch_layers(store, registry, &mut intake, &manifest, &diff_ids, progress).await?;
    let progress = progress.clone();
    blocking(move || {
        let mut checked: Vec<CheckedLayer> = Vec::new();
        for ((layer, diff_id), path) in manifest.layers.iter().zip(diff_ids).zip(&paths) {
            let short = layer.digest.short();
            let mut transfer = progress.transfer(&short, "Extracting", layer.size);
            let (name, digest) = (layer.digest.to_string(), Some(layer.digest));
            let source = LayerSource { path, name: &name, digest, diff_id: Some(diff_id) };
            let layer = intake.layer(&source, &checked, &mut transfer)?;
            checked.push(layer);
            if path.starts_with(intake.directory()) {
                progress.status_of(&short, "Pull complete");
            }
        }
        let id = intake.image(&configuration, Some(&bytes), &checked)?;
        let names: Vec<_> = names.into_iter().map(|name| (name, id)).collect();
        intake.finish(&names)?;
        Ok(id)
    })
    .await
}

/// Fetches those layers that are not here. Returns where each one is.
async fn fetch_layers(
    store: &Store,
    registry: &Registry,
    intake: &mut Intake,
    manifest: &Manifest,
    diff_ids: &[Digest],
    progress: &Progress,
) -> Result<Vec<PathBuf>, Error> {
    let (mut paths, mut wanted, mut known) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, layer) in manifest.layers.iter().enumerate() {
        let here = intake.has_blob(layer.digest);
        let unpacked = Digest::chain(&diff_ids[..=index]).is_some_and(|chain| intake.has_unpacked(chain));
        let path = if here { store.blob(&layer.digest) } else { intake.directory().join(layer.digest.hex()) };
        progress.status_of(
            &layer.digest.short(),
            if here && unpacked { "Already exists" } else { "Pulling fs layer" },
        );
        if !here && known.insert(layer.digest) {
            wanted.push((layer.clone(), path.clone()));
        }
        paths.push(path);
    }
    let fetches = wanted.into_iter().map(|(layer, path)| async move {
        let short = layer.digest.short();
        registry.fetch(&layer, &path, || progress.transfer(&short, "Downloading", layer.size)).await?;
        progress.status_of(&short, "Download complete");
        Ok::<_, Error>(())
    });
    stream::iter(fetches).buffer_unordered(AT_ONE_TIME).try_collect::<()>().await?;
    Ok(paths)
}

/// What a registry has under `name`.
pub(crate) async fn resolve(
    store: &Store,
    name: &ImageReference,
    auth: Option<&RegistryAuth>,
) -> Result<Distribution, Error> {
    let seconds = RESOLVE_DEADLINE.as_secs();
    timeout(RESOLVE_DEADLINE, ask(store, name, auth))
        .await
        .unwrap_or_else(|_| Err(Error::TimedOut { host: name.domain.clone(), seconds }))
}

async fn ask(
    store: &Store,
    name: &ImageReference,
    auth: Option<&RegistryAuth>,
) -> Result<Distribution, Error> {
    let insecure = &store.settings.insecure_registries;
    let registry = Registry::connect(name, auth, RegistryOperation::Pull, insecure).await?;
    let bytes = registry.document().await?;
    let (media_type, platforms) = match Document::parse(&bytes)? {
        Document::Index(index) => {
            let described = index.manifests.into_iter().filter_map(|manifest| manifest.platform);
            let media_type = if index.media_type.is_empty() { OCI_INDEX.into() } else { index.media_type };
            (media_type, described.map(Platform::from).collect())
        }
        Document::Manifest(manifest) => {
            let blob = registry.small_blob(&manifest.config, LONGEST_CONFIGURATION).await?;
            let (configuration, _) = parse_configuration(&blob)?;
            let (architecture, os, variant) =
                (configuration.architecture, configuration.os, configuration.variant);
            (manifest.media_type().to_owned(), vec![Platform { architecture, os, variant }])
        }
    };
    Ok(Distribution {
        media_type,
        digest: Digest::of(&bytes).to_string(),
        size: bytes.len() as u64,
        platforms,
    })
}
