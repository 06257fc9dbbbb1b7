//! Sending an image.

use crate::compression::gzip;
use crate::digest::{Digest, Digesting};
use crate::error::Error;
use crate::images::blocking;
use crate::index::Record;
use crate::ingest::Intake;
use crate::manifest::{Descriptor, Manifest};
use crate::pins::Part;
use crate::progress::{Message, Progress, ProgressDetail};
use crate::registry::Registry;
use crate::registry_auth::RegistryAuth;
use crate::store::Store;
use futures::StreamExt;
use oci_client::RegistryOperation;
use shoal_model::image_reference::ImageReference;
use std::fs::{self, File};
use std::sync::Arc;
use tokio_util::io::ReaderStream;

/// Bytes that are sent at one time.
const CHUNK: usize = 128 << 10;

/// Sends the image called `name` to the registry of that name. Returns the digest of its manifest.
pub(crate) async fn push(
    store: Arc<Store>,
    name: &ImageReference,
    auth: Option<&RegistryAuth>,
    progress: &Progress,
) -> Result<String, Error> {
    let id = find_own(&store, name)?;
    let repository = format!("{}/{}", name.domain, name.path);
    progress.status(format!("The push refers to repository [{repository}]"));
    let mut pinned = store.pins.pinned();
    let packing = Arc::clone(&store);
    let (bytes, manifest) = blocking(move || packed(&packing, id)).await?;
    let blobs = manifest.layers.iter().chain([&manifest.config]);
    blobs.clone().for_each(|blob| pinned.pin(Part::Blob(blob.digest)));
    let registry =
        Registry::connect(name, auth, RegistryOperation::Push, &store.settings.insecure_registries).await?;
    for layer in &manifest.layers {
        progress.status_of(&layer.digest.short(), "Preparing");
    }
    for layer in &manifest.layers {
        let short = layer.digest.short();
        let sent = send(&store, &registry, layer, Some(progress)).await?;
        progress.status_of(&short, if sent { "Pushed" } else { "Layer already exists" });
    }
    send(&store, &registry, &manifest.config, None).await?;
    let (digest, size) = (Digest::of(&bytes).to_string(), bytes.len());
    registry.send_manifest(bytes, manifest.media_type()).await?;
    let by_digest = ImageReference { tag: None, digest: Some(digest.clone()), ..name.clone() };
    blocking(move || note(&store, by_digest, id)).await?;
    let tag = name.tag.clone().unwrap_or_default();
    progress.status(format!("{tag}: digest: {digest} size: {size}"));
    progress.send(Message {
        progress_detail: Some(ProgressDetail::default()),
        aux: Some(serde_json::json!({ "Tag": tag, "Digest": digest, "Size": size })),
        ..Message::default()
    });
    Ok(digest)
}

/// The image called `name`. The words are Docker's.
fn find_own(store: &Store, name: &ImageReference) -> Result<Digest, Error> {
    if name.digest.is_some() {
        return Err(Error::Invalid("cannot push a digest reference".into()));
    }
    let catalogue = store.catalogue();
    if let Some(id) = catalogue.index.names.get(name) {
        return Ok(*id);
    }
    let same_repository = |other: &ImageReference| (&other.domain, &other.path) == (&name.domain, &name.path);
    Err(Error::NoSuchTag(if catalogue.index.names.keys().any(same_repository) {
        format!("tag does not exist: {}", name.familiar())
    } else {
        format!("An image does not exist locally with the tag: {}", name.familiar_name())
    }))
}

/// The manifest to send. Layers that came without compression get it, once and for all, unless the image is known to
/// some registry by the digest of the manifest that it has.
fn packed(store: &Arc<Store>, id: Digest) -> Result<(Vec<u8>, Manifest), Error> {
    let catalogue = store.catalogue();
    let missing = || Error::NotFound { reference: id.to_string() };
    let (record, parsed) =
        catalogue.index.images.get(&id).zip(catalogue.parsed.get(&id)).ok_or_else(missing)?;
    let is_known = catalogue.index.names_of(&id).iter().any(|name| name.digest.is_some());
    if is_known || !parsed.manifest.layers.iter().any(Descriptor::is_plain_layer) {
        return Ok((store.read_blob(&record.manifest)?, parsed.manifest.clone()));
    }
    let mut intake = Intake::new(store)?;
    let mut manifest = parsed.manifest.clone();
    for layer in manifest.layers.iter_mut().filter(|layer| layer.is_plain_layer()) {
        let failed = || Error::io(format!("compress layer {}", layer.digest));
        let path = intake.directory().join(layer.digest.hex());
        let plain = File::open(store.blob(&layer.digest)).map_err(failed())?;
        let mut file = File::create(&path).map_err(failed())?;
        gzip(plain, &mut file).map_err(failed())?;
        let mut packed = Digesting::new(File::open(&path).map_err(failed())?);
        std::io::copy(&mut packed, &mut std::io::sink()).map_err(failed())?;
        let is_docker = layer.media_type.starts_with("application/vnd.docker.");
        layer.media_type.push_str(if is_docker { ".gzip" } else { "+gzip" });
        layer.size = packed.length();
        layer.digest = packed.finish();
        intake.put_blob(path, layer.digest);
    }
    let bytes = serde_json::to_vec(&manifest).map_err(|error| Error::io("write a manifest")(error.into()))?;
    let record = Record { manifest: Digest::of(&bytes), layer_sizes: record.layer_sizes.clone() };
    intake.replace(id, record, &bytes)?;
    intake.finish(&[])?;
    Ok((bytes, manifest))
}

/// Sends a blob, unless the repository has it. Returns whether it was sent.
async fn send(
    store: &Store,
    registry: &Registry,
    blob: &Descriptor,
    progress: Option<&Progress>,
) -> Result<bool, Error> {
    if registry.has_blob(&blob.digest).await? {
        return Ok(false);
    }
    let path = store.blob(&blob.digest);
    let failed = || Error::io(format!("read {}", path.display()));
    let size = fs::metadata(&path).map_err(failed())?.len();
    let file = tokio::fs::File::open(&path).await.map_err(failed())?;
    let mut transfer =
        progress.cloned().unwrap_or_else(Progress::none).transfer(&blob.digest.short(), "Pushing", size);
    let stream = ReaderStream::with_capacity(file, CHUNK).inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            transfer.add(chunk.len() as u64);
        }
    });
    registry.send_blob(&blob.digest, size, stream).await?;
    Ok(true)
}

/// Notes the digest by which the registry now knows an image, if the image is still here.
fn note(store: &Store, name: ImageReference, id: Digest) -> Result<(), Error> {
    let change = store.change();
    let mut catalogue = crate::store::Catalogue::clone(&store.catalogue());
    if catalogue.index.images.contains_key(&id) && catalogue.index.names.insert(name, id) != Some(id) {
        change.set(catalogue)?;
    }
    Ok(())
}
