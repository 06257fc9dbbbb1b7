//! Archives out: an OCI layout with Docker's `manifest.json` beside it, which every reader of either takes.

use crate::digest::Digest;
use crate::error::Error;
use crate::find::find;
use crate::manifest::{Descriptor, Index, OCI_INDEX};
use crate::store::{Catalogue, Store};
use serde::Serialize;
use shoal_model::image_reference::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Writes the images `names` as one archive.
pub(crate) fn save(store: &Store, names: &[String], writer: impl Write) -> Result<(), Error> {
    let mut pinned = store.pins.pinned();
    let catalogue = store.catalogue();
    let chosen = chosen(&catalogue, names)?;
    for (id, _) in &chosen {
        catalogue.needs(id).into_iter().for_each(|part| pinned.pin(part));
    }
    let failed = || Error::io("write the archive");
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(1 << 16, writer));
    let (mut listed, mut manifests, mut blobs) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (id, tags) in &chosen {
        let (Some(record), Some(parsed)) = (catalogue.index.images.get(id), catalogue.parsed.get(id)) else {
            continue;
        };
        let layers = parsed.manifest.layers.iter().map(|layer| layer.digest);
        blobs.extend(layers.clone().chain([*id, record.manifest]));
        let size = fs::metadata(store.blob(&record.manifest)).map_err(failed())?.len();
        manifests.extend(descriptors(parsed.manifest.media_type(), record.manifest, size, tags));
        listed.push(Listed {
            config: blob_name(id),
            repo_tags: (!tags.is_empty()).then(|| tags.iter().map(ImageReference::familiar).collect()),
            layers: layers.map(|layer| blob_name(&layer)).collect(),
        });
    }
    for digest in &blobs {
        let mut file = File::open(store.blob(digest)).map_err(failed())?;
        let size = file.metadata().map_err(failed())?.len();
        archive.append_data(&mut header(size), blob_name(digest), &mut file).map_err(failed())?;
    }
    let index = Index { schema_version: 2, media_type: OCI_INDEX.to_owned(), manifests };
    let layout = BTreeMap::from([("imageLayoutVersion", "1.0.0")]);
    for (name, json) in [
        ("index.json", serde_json::to_vec(&index)),
        ("manifest.json", serde_json::to_vec(&listed)),
        ("oci-layout", serde_json::to_vec(&layout)),
    ] {
        let json = json.map_err(|error| failed()(error.into()))?;
        archive.append_data(&mut header(json.len() as u64), name, json.as_slice()).map_err(failed())?;
    }
    archive.into_inner().and_then(|mut writer| writer.flush()).map_err(failed())
}

/// The images to save, each with the tags to save it under. A repository means all its tags, as for Docker.
fn chosen(catalogue: &Catalogue, names: &[String]) -> Result<Vec<(Digest, Vec<ImageReference>)>, Error> {
    let mut chosen: Vec<(Digest, Vec<ImageReference>)> = Vec::new();
    let mut add = |id: Digest, name: Option<ImageReference>| {
        let index = chosen.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            chosen.push((id, Vec::new()));
            chosen.len() - 1
        });
        let tags = &mut chosen[index].1;
        tags.extend(name.filter(|name| !tags.contains(name)));
    };
    for name in names {
        let base = name.rsplit('/').next().unwrap_or(name);
        let reference: Option<ImageReference> = name.parse().ok();
        let whole_repository = reference.as_ref().filter(|_| !base.contains([':', '@']));
        let of_repository = |tag: &&ImageReference| {
            whole_repository.is_some_and(|wanted| (&wanted.domain, &wanted.path) == (&tag.domain, &tag.path))
        };
        let tags: Vec<_> =
            catalogue.index.names.keys().filter(|tag| tag.digest.is_none()).filter(of_repository).collect();
        for tag in &tags {
            add(catalogue.index.names[*tag], Some((*tag).clone()));
        }
        if tags.is_empty() {
            let id = find(catalogue, name)?;
            let tag =
                reference.filter(|tag| tag.digest.is_none() && catalogue.index.names.get(tag) == Some(&id));
            add(id, tag);
        }
    }
    Ok(chosen)
}

/// One descriptor a tag, or one without a name.
fn descriptors(media_type: &str, digest: Digest, size: u64, tags: &[ImageReference]) -> Vec<Descriptor> {
    let descriptor = |annotations| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations,
    };
    if tags.is_empty() {
        return vec![descriptor(None)];
    }
    let annotated = |tag: &ImageReference| {
        let short = tag.tag.clone().unwrap_or_default();
        let annotations = [
            ("io.containerd.image.name".to_owned(), tag.to_string()),
            ("org.opencontainers.image.ref.name".to_owned(), short),
        ];
        descriptor(Some(BTreeMap::from(annotations)))
    };
    tags.iter().map(annotated).collect()
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    header
}
