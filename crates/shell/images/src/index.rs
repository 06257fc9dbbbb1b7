//! The index of the store: which images there are and what they are called.

use crate::digest::Digest;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use shoal_model::image_reference::ImageReference;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The form of the file; a later one is not read by this version.
const VERSION: u32 = 1;

/// Which images there are and what they are called.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    pub(crate) images: BTreeMap<Digest, Record>,
    /// Names with either tag or digest.
    pub(crate) names: BTreeMap<ImageReference, Digest>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) manifest: Digest,
    /// Bytes of the files of each layer, lowest first.
    pub(crate) layer_sizes: Vec<u64>,
}

impl Index {
    /// Reads the file; an empty index where there is none.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let failed = || Error::io(format!("read {}", path.display()));
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(failed())?,
        };
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| failed()(error.into()))?;
        if index.version > VERSION {
            return Err(failed()(io::Error::other(format!("it is of the later version {}", index.version))));
        }
        Ok(index)
    }

    /// Replaces the file in `directory` as a whole, and only once it is on the disk.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join("index.json");
        let new = directory.join("index.json.new");
        let write = || {
            let mut file = File::create(&new)?;
            serde_json::to_writer_pretty(&mut file, &Self { version: VERSION, ..self.clone() })?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(Error::io(format!("write {}", path.display())))
    }

    /// The names of an image, tags before digests.
    pub(crate) fn names_of(&self, id: &Digest) -> Vec<&ImageReference> {
        let (mut tags, digests): (Vec<_>, Vec<_>) = self
            .names
            .iter()
            .filter(|(_, of)| *of == id)
            .map(|(name, _)| name)
            .partition(|name| name.digest.is_none());
        tags.extend(digests);
        tags
    }
}

/// The name under which an image is kept: with its digest alone where it has one, since a tag may move on.
pub(crate) fn kept_name(reference: &ImageReference) -> ImageReference {
    match &reference.digest {
        Some(_) => ImageReference { tag: None, ..reference.clone() },
        None => reference.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.json");
        assert_eq!(Index::read(&path).unwrap(), Index::default());
        let id = Digest::of(b"image");
        let mut index = Index { version: VERSION, ..Index::default() };
        index.images.insert(id, Record { manifest: Digest::of(b"manifest"), layer_sizes: vec![1, 2] });
        index.names.insert("localhost:5000/a/b:c".parse().unwrap(), id);
        index.names.insert(format!("x@{id}").parse().unwrap(), id);
        index.write(directory.path()).unwrap();
        assert_eq!(Index::read(&path).unwrap(), index);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_and_later_versions_are_errors_and_not_an_empty_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.json");
        for text in ["{", r#"{"version":9,"images":{},"names":{}}"#] {
            fs::write(&path, text).unwrap();
            assert!(Index::read(&path).is_err(), "{text}");
        }
    }
}
