//! Archives in: those of `docker save`, of every age, and OCI layouts.

use crate::archive::Members;
use crate::digest::Digest;
use crate::error::{Error, LayerError};
use crate::ingest::{CheckedLayer, Intake, LONGEST_CONFIGURATION, LayerSource, parse_configuration};
use crate::manifest::{Descriptor, Document, LONGEST_MANIFEST, Manifest, for_this_machine};
use crate::progress::Progress;
use crate::store::Store;
use serde::Deserialize;
use shoal_model::image_reference::ImageReference;
use std::fs;
use std::io::Read;
use std::sync::Arc;

/// Deepest lists of lists.
const DEEPEST: usize = 3;
/// Where an OCI layout says the name of an image (OCI annotations; the other one is containerd's and Docker's).
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Loads every image of the archive `stream`, or none. Returns their names, and the ids of those without.
pub(crate) fn load(store: &Arc<Store>, stream: impl Read, progress: &Progress) -> Result<Vec<String>, Error> {
    let mut intake = Intake::new(store)?;
    let members = Members::lay_down(stream, intake.directory(), store.bounds(0))?;
    let mut loader = Loader { members: &members, progress, named: Vec::new(), unnamed: Vec::new() };
    if members.path("manifest.json").is_some() {
        loader.docker(&mut intake)?;
    } else if members.path("index.json").is_some() {
        loader.oci(&mut intake)?;
    } else {
        return Err(Error::InvalidImage("the archive has neither manifest.json nor index.json".into()));
    }
    let Loader { named, unnamed, .. } = loader;
    intake.finish(&named)?;
    for (name, _) in &named {
        progress.stream(format!("Loaded image: {}\n", name.familiar()));
    }
    for id in &unnamed {
        progress.stream(format!("Loaded image ID: {id}\n"));
    }
    let names = named.iter().map(|(name, _)| name.familiar());
    Ok(names.chain(unnamed.iter().map(Digest::to_string)).collect())
}

struct Loader<'a> {
    members: &'a Members,
    progress: &'a Progress,
    named: Vec<(ImageReference, Digest)>,
    unnamed: Vec<Digest>,
}

impl Loader<'_> {
    fn docker(&mut self, intake: &mut Intake) -> Result<(), Error> {
        let bytes = self.members.read("manifest.json", LONGEST_MANIFEST)?;
        let listed: Vec<Listed> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::InvalidImage(format!("manifest.json: {error}")))?;
        if listed.is_empty() {
            return Err(Error::InvalidImage("manifest.json names no image".into()));
        }
        for image in listed {
            let configuration = self.members.read(&image.config, LONGEST_CONFIGURATION)?;
            let id = Digest::of(&configuration);
            if let Some(named) = digest_in_name(&image.config).filter(|named| *named != id) {
                return Err(wrong_digest(&image.config, named, id));
            }
            let manifest = self.manifest_of(id);
            let layers = image.layers.unwrap_or_default();
            let sources = layers.iter().map(|name| (name.as_str(), digest_in_blob_name(name)));
            let checked = self.layers(intake, &configuration, sources.collect())?;
            let manifest = manifest.filter(|(_, manifest)| {
                let digests = manifest.layers.iter().map(|layer| Some(layer.digest));
                digests.eq(layers.iter().map(|name| digest_in_blob_name(name)))
            });
            intake.image(&configuration, manifest.as_ref().map(|(bytes, _)| bytes.as_slice()), &checked)?;
            self.name(id, image.repo_tags.unwrap_or_default())?;
        }
        Ok(())
    }

    fn oci(&mut self, intake: &mut Intake) -> Result<(), Error> {
        let Document::Index(index) = Document::parse(&self.members.read("index.json", LONGEST_MANIFEST)?)?
        else {
            return Err(Error::InvalidImage("index.json is no list".into()));
        };
        if index.manifests.is_empty() {
            return Err(Error::InvalidImage("index.json names no image".into()));
        }
        for descriptor in &index.manifests {
            let (bytes, manifest) = self.manifest_for_this_machine(descriptor)?;
            let configuration = self.blob(&manifest.config, LONGEST_CONFIGURATION)?;
            let names: Vec<String> =
                manifest.layers.iter().map(|layer| format!("blobs/sha256/{}", layer.digest.hex())).collect();
            let sources = names.iter().zip(&manifest.layers);
            let sources = sources.map(|(name, layer)| (name.as_str(), Some(layer.digest))).collect();
            let checked = self.layers(intake, &configuration, sources)?;
            let id = intake.image(&configuration, Some(&bytes), &checked)?;
            // A tag alone is no name for Docker; with the whole name there is one.
            let names = NAMES.iter().filter_map(|key| descriptor.annotation(key));
            let whole = names.filter(|name| name.contains([':', '/'])).take(1);
            self.name(id, whole.map(str::to_owned).collect())?;
        }
        Ok(())
    }

    /// Notes the names of an image; bad ones make the archive bad.
    fn name(&mut self, id: Digest, names: Vec<String>) -> Result<(), Error> {
        if names.is_empty() {
            self.unnamed.push(id);
        }
        for name in names {
            self.named.push((name.parse()?, id));
        }
        Ok(())
    }

    fn layers(
        &self,
        intake: &mut Intake,
        configuration: &[u8],
        sources: Vec<(&str, Option<Digest>)>,
    ) -> Result<Vec<CheckedLayer>, Error> {
        let (_, diff_ids) = parse_configuration(configuration)?;
        if diff_ids.len() != sources.len() {
            let counts = (diff_ids.len(), sources.len());
            let why = format!("its configuration names {} layers, its manifest {}", counts.0, counts.1);
            return Err(Error::InvalidImage(why));
        }
        let mut checked: Vec<CheckedLayer> = Vec::new();
        for ((name, digest), diff_id) in sources.into_iter().zip(diff_ids) {
            let missing = || Error::InvalidImage(format!("the archive has no {name}"));
            let path = self.members.path(name).ok_or_else(missing)?;
            let total = fs::metadata(path).map_err(Error::io(format!("read {name} of the archive")))?.len();
            let mut transfer = self.progress.transfer(&diff_id.short(), "Loading layer", total);
            let source = LayerSource { path, name, digest, diff_id: Some(diff_id) };
            let layer = intake.layer(&source, &checked, &mut transfer)?;
            checked.push(layer);
        }
        Ok(checked)
    }

    /// The blob of an OCI layout, checked.
    fn blob(&self, descriptor: &Descriptor, longest: u64) -> Result<Vec<u8>, Error> {
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        let bytes = self.members.read(&name, longest)?;
        let found = Digest::of(&bytes);
        if found == descriptor.digest {
            Ok(bytes)
        } else {
            Err(wrong_digest(&name, descriptor.digest, found))
        }
    }

    fn manifest_for_this_machine(&self, descriptor: &Descriptor) -> Result<(Vec<u8>, Manifest), Error> {
        let mut bytes = self.blob(descriptor, LONGEST_MANIFEST)?;
        for _ in 0..DEEPEST {
            match Document::parse(&bytes)? {
                Document::Manifest(manifest) => return Ok((bytes, manifest)),
                Document::Index(index) => {
                    bytes = self.blob(for_this_machine(&index.manifests)?, LONGEST_MANIFEST)?;
                }
            }
        }
        Err(Error::InvalidImage("lists of lists of manifests".into()))
    }

    /// The manifest that a newer archive of Docker's carries beside `manifest.json`, with which the image keeps the
    /// digest that it has in registries.
    fn manifest_of(&self, id: Digest) -> Option<(Vec<u8>, Manifest)> {
        let index = self.members.read("index.json", LONGEST_MANIFEST).ok()?;
        let Ok(Document::Index(index)) = Document::parse(&index) else { return None };
        let manifests = index.manifests.iter().filter_map(|one| self.manifest_for_this_machine(one).ok());
        manifests.into_iter().find(|(_, manifest)| manifest.config.digest == id)
    }
}

fn wrong_digest(name: &str, expected: Digest, found: Digest) -> Error {
    let (expected, found) = (expected.to_string(), found.to_string());
    Error::Layer { layer: name.to_owned(), source: LayerError::WrongDigest { expected, found } }
}

/// The digest in a name such as `blobs/sha256/<hex>`.
fn digest_in_blob_name(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix("blobs/sha256/")?)
}

/// The digest in the name of a configuration: of a blob, or `<hex>.json` as before.
fn digest_in_name(name: &str) -> Option<Digest> {
    digest_in_blob_name(name).or_else(|| Digest::from_hex(name.strip_suffix(".json")?))
}
