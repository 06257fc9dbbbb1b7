//! What is on the disk: blobs by digest, unpacked layers by chain id, and an index of images and names.
//!
//!     blobs/sha256/<hex>     configurations, manifests, archives of layers as they came
//!     layers/<hex>/diff      unpacked layers; `size` beside it holds the bytes of its files
//!     index.json             which images there are, and their names
//!     work/<random>/         what is being taken in; removed at the end, or by the next start
//!
//! Blobs and layers come to their place by a rename, complete and on the disk; the index is replaced by a rename after
//! them. So after a crash there may be too much, never too little, and the next start removes what is too much.

use crate::configuration::Configuration;
use crate::digest::Digest;
use crate::error::Error;
use crate::images::Settings;
use crate::index::{Index, Record};
use crate::manifest::{Document, Manifest};
use crate::pins::{Part, Pins};
use crate::unpack::{Bounds, sync_file_system};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// The store of one host.
pub(crate) struct Store {
    root: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) pins: Pins,
    catalogue: RwLock<Arc<Catalogue>>,
    /// Held by whoever changes the index or removes files.
    change: Mutex<()>,
    /// Held by whoever unpacks a layer again that has gone missing.
    pub(crate) repair: Mutex<()>,
}

/// All images, as of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    pub(crate) index: Index,
    /// The parsed configuration and manifest of each image.
    pub(crate) parsed: BTreeMap<Digest, Arc<Parsed>>,
}

/// What an image's blobs say.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) configuration: Configuration,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) manifest: Manifest,
}

/// The right to change a store.
pub(crate) struct Change<'a> {
    store: &'a Store,
    _guard: MutexGuard<'a, ()>,
}

impl Store {
    pub(crate) fn open(root: PathBuf, settings: Settings) -> Result<Self, Error> {
        for directory in ["blobs/sha256", "layers", "work"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(Error::io(format!("make {}", path.display())))?;
        }
        let index = Index::read(&root.join("index.json"))?;
        let store = Self {
            root,
            settings,
            pins: Pins::default(),
            catalogue: RwLock::default(),
            change: Mutex::default(),
            repair: Mutex::default(),
        };
        let catalogue = store.parse_all(index);
        store.remove_leftovers(&catalogue.referenced())?;
        store.set_catalogue(catalogue);
        Ok(store)
    }

    /// All images, as of now.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_catalogue(&self, catalogue: Catalogue) {
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
    }

    /// Waits until no one else changes the store.
    pub(crate) fn change(&self) -> Change<'_> {
        Change { store: self, _guard: self.change.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.blob(digest);
        let bytes = fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
        if Digest::of(&bytes) != *digest {
            return Err(Error::InvalidImage(format!("{} is damaged", path.display())));
        }
        Ok(bytes)
    }

    /// Where the layer with this chain id is, with its size beside it.
    pub(crate) fn layer(&self, chain: &Digest) -> PathBuf {
        self.root.join("layers").join(chain.hex())
    }

    /// The unpacked layer with this chain id.
    pub(crate) fn layer_root(&self, chain: &Digest) -> PathBuf {
        self.layer(chain).join("diff")
    }

    /// Bytes of the files of an unpacked layer; `None` where it is not unpacked.
    pub(crate) fn layer_size(&self, chain: &Digest) -> Option<u64> {
        fs::read_to_string(self.layer(chain).join("size")).ok()?.trim().parse().ok()
    }

    /// Removes what is left of a damaged layer.
    pub(crate) fn remove_layer(&self, chain: &Digest) -> Result<(), Error> {
        let path = self.layer(chain);
        remove_any(&path).map(drop).map_err(Error::io(format!("remove {}", path.display())))
    }

    /// An empty directory on the same file system, removed when dropped.
    pub(crate) fn work_directory(&self) -> Result<WorkDirectory, Error> {
        let path = self.root.join("work").join(format!("{:032x}", rand::random::<u128>()));
        fs::create_dir(&path).map_err(Error::io(format!("make {}", path.display())))?;
        Ok(WorkDirectory(path))
    }

    /// Brings everything in the store to the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        sync_file_system(&self.root).map_err(Error::io(format!("write {} to the disk", self.root.display())))
    }

    /// What one layer of an image may be, of which `used` bytes are already unpacked.
    pub(crate) fn bounds(&self, used: u64) -> Bounds {
        Bounds { bytes: self.settings.unpacked_bytes.saturating_sub(used), entries: self.settings.entries }
    }

    /// Reads the configuration and manifest of an image that is not in the catalogue yet.
    pub(crate) fn parse(&self, id: &Digest, record: &Record) -> Result<Parsed, Error> {
        let (configuration, diff_ids) = crate::ingest::parse_configuration(&self.read_blob(id)?)?;
        let Document::Manifest(manifest) = Document::parse(&self.read_blob(&record.manifest)?)? else {
            return Err(Error::InvalidImage(format!("{} is a list", record.manifest)));
        };
        Ok(Parsed { configuration, diff_ids, manifest })
    }

    /// Images whose blobs are damaged are left out, with a warning, rather than keeping the daemon from starting.
    fn parse_all(&self, mut index: Index) -> Catalogue {
        let mut parsed = BTreeMap::new();
        index.images.retain(|id, record| match self.parse(id, record) {
            Ok(image) => {
                parsed.insert(*id, Arc::new(image));
                true
            }
            Err(error) => {
                tracing::warn!(image = %id, error = error.report(), "image is damaged and left out");
                false
            }
        });
        index.names.retain(|_, id| parsed.contains_key(id));
        Catalogue { index, parsed }
    }

    /// Removes what no image needs: the remains of interrupted work.
    fn remove_leftovers(&self, referenced: &BTreeSet<Part>) -> Result<(), Error> {
        type Kind = fn(Digest) -> Part;
        let (blobs, layers): (Kind, Kind) = (Part::Blob, Part::Layer);
        for (directory, kind) in [("work", None), ("blobs/sha256", Some(blobs)), ("layers", Some(layers))] {
            let path = self.root.join(directory);
            let failed = || format!("remove leftovers in {}", path.display());
            for entry in fs::read_dir(&path).map_err(Error::io(failed()))? {
                let entry = entry.map_err(Error::io(failed()))?;
                let name = entry.file_name();
                let part =
                    name.to_str().and_then(Digest::from_hex).zip(kind).map(|(digest, kind)| kind(digest));
                if part.is_some_and(|part| referenced.contains(&part)) {
                    continue;
                }
                remove_any(&entry.path()).map_err(Error::io(failed()))?;
            }
        }
        Ok(())
    }
}

impl Change<'_> {
    /// Replaces the index on the disk, then the catalogue.
    pub(crate) fn set(&self, catalogue: Catalogue) -> Result<(), Error> {
        catalogue.index.write(&self.store.root)?;
        self.store.set_catalogue(catalogue);
        Ok(())
    }

    /// Removes those of `candidates` that no image needs and no one is working with. Returns the chain ids of layers
    /// that are gone. What cannot be removed now is removed by the next start.
    pub(crate) fn sweep(&self, candidates: &BTreeSet<Part>) -> Vec<Digest> {
        let referenced = self.store.catalogue().referenced();
        let mut gone = Vec::new();
        for part in candidates.difference(&referenced) {
            self.store.pins.unless_pinned(part, || {
                let path = match part {
                    Part::Blob(digest) => self.store.blob(digest),
                    Part::Layer(chain) => self.store.layer(chain),
                };
                match (remove_any(&path), part) {
                    (Ok(true), Part::Layer(chain)) => gone.push(*chain),
                    (Ok(_), _) => {}
                    (Err(error), _) => tracing::warn!(path = %path.display(), %error, "cannot remove"),
                }
            });
        }
        gone
    }
}

impl Catalogue {
    /// All blobs and layers that images need.
    fn referenced(&self) -> BTreeSet<Part> {
        self.index.images.keys().flat_map(|id| self.needs(id)).collect()
    }

    /// The blobs and layers that one image needs.
    pub(crate) fn needs(&self, id: &Digest) -> Vec<Part> {
        let (Some(record), Some(parsed)) = (self.index.images.get(id), self.parsed.get(id)) else {
            return Vec::new();
        };
        let blobs = parsed.manifest.layers.iter().map(|layer| layer.digest);
        let blobs = [*id, record.manifest].into_iter().chain(blobs).map(Part::Blob);
        blobs.chain(parsed.chains().into_iter().map(Part::Layer)).collect()
    }
}

impl Parsed {
    /// The chain ids of the image's layers, lowest first.
    pub(crate) fn chains(&self) -> Vec<Digest> {
        (1..=self.diff_ids.len()).filter_map(|count| Digest::chain(&self.diff_ids[..count])).collect()
    }
}

/// A directory that is removed with all it holds when dropped.
#[derive(Debug)]
pub(crate) struct WorkDirectory(PathBuf);

impl WorkDirectory {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        if let Err(error) = remove_any(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove; the next start will");
        }
    }
}

/// Removes a file or a directory with all it holds. Returns whether there was one.
fn remove_any(path: &Path) -> io::Result<bool> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}
