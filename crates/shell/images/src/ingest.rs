//! Taking an image in: every digest checked and every layer unpacked beside the store, then all put in place at once.

use crate::compression::{self, Compression};
use crate::configuration::Configuration;
use crate::digest::{Digest, Digesting};
use crate::error::{Error, LayerError};
use crate::index::{Record, kept_name};
use crate::manifest::Manifest;
use crate::pins::{Part, Pinned};
use crate::progress::Transfer;
use crate::store::{Catalogue, Store, WorkDirectory};
use crate::unpack::{Unpacked, unpack};
use shoal_model::image_reference::ImageReference;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest configuration in bytes.
pub(crate) const LONGEST_CONFIGURATION: u64 = 8 << 20;

/// Work on images that are to come in together, or not at all.
pub(crate) struct Intake {
    store: Arc<Store>,
    work: WorkDirectory,
    pinned: Pinned,
    /// Files and directories to put in place, with the place.
    ready: Vec<(PathBuf, PathBuf)>,
    images: Vec<NewImage>,
}

struct NewImage {
    id: Digest,
    record: Record,
    /// Whether the manifest came with the image. One that we made gives way to one that is there.
    has_manifest: bool,
}

/// One layer that has been checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckedLayer {
    pub(crate) diff_id: Digest,
    pub(crate) compression: Compression,
    /// Digest and length of the archive as it came.
    blob: (Digest, u64),
    /// Bytes of its files.
    size: u64,
    /// Length of the archive without compression; 0 where it did not have to be read.
    length: u64,
}

/// A layer's archive and what is known of it.
pub(crate) struct LayerSource<'a> {
    pub(crate) path: &'a Path,
    /// What to call it in errors.
    pub(crate) name: &'a str,
    /// The digest that the manifest says it has.
    pub(crate) digest: Option<Digest>,
    /// The digest that the configuration says it has unpacked.
    pub(crate) diff_id: Option<Digest>,
}

impl Intake {
    pub(crate) fn new(store: &Arc<Store>) -> Result<Self, Error> {
        let (work, pinned) = (store.work_directory()?, store.pins.pinned());
        Ok(Self { store: Arc::clone(store), work, pinned, ready: Vec::new(), images: Vec::new() })
    }

    /// Where to put files meanwhile.
    pub(crate) fn directory(&self) -> &Path {
        self.work.path()
    }

    /// Whether this blob is already here; if so it stays.
    pub(crate) fn has_blob(&mut self, digest: Digest) -> bool {
        self.pinned.pin(Part::Blob(digest));
        self.store.blob(&digest).exists()
    }

    /// Whether this layer is already unpacked; if so it stays.
    pub(crate) fn has_unpacked(&mut self, chain: Digest) -> bool {
        self.pinned.pin(Part::Layer(chain));
        self.store.layer_size(&chain).is_some()
    }

    /// Checks one layer and unpacks it above `below` (checked layers, lowest first).
    pub(crate) fn layer(
        &mut self,
        source: &LayerSource<'_>,
        below: &[CheckedLayer],
        transfer: &mut Transfer,
    ) -> Result<CheckedLayer, Error> {
        let failed = |error| Error::Layer { layer: source.name.to_owned(), source: error };
        let diff_ids: Vec<Digest> = below.iter().map(|layer| layer.diff_id).collect();
        let expected_chain =
            source.diff_id.and_then(|diff_id| Digest::chain(&[&diff_ids[..], &[diff_id]].concat()));
        if let (Some(digest), Some(chain), Some(diff_id)) = (source.digest, expected_chain, source.diff_id)
            && self.has_blob(digest)
            && self.has_unpacked(chain)
        {
            return self.known_layer(source, digest, chain, diff_id);
        }
        if let Some(chain) = expected_chain {
            self.pinned.pin(Part::Layer(chain));
        }
        let is_unpacked = expected_chain.is_some_and(|chain| self.unpacked(&chain).is_some());
        let target = self.work.path().join(format!("{:032x}", rand::random::<u128>()));
        let root = target.join("diff");
        fs::create_dir_all(&root).map_err(Error::io(format!("make {}", root.display())))?;
        let lower = self.lower(&diff_ids)?;
        let mut file = File::open(source.path).map_err(Error::io(format!("open layer {}", source.name)))?;
        let (compression, _) = compression::of(&mut file).map_err(failed)?;
        file.rewind().map_err(Error::io(format!("read layer {}", source.name)))?;
        let file = Watched { inner: file, transfer };
        let bounds = self.store.bounds(below.iter().map(|layer| layer.length).sum());
        let place = (!is_unpacked).then_some(root.as_path());
        let (unpacked, blob, blob_length) = if compression == Compression::None {
            // The archive as it came is the archive unpacked, so it is digested once.
            let unpacked = unpack(file, place, &lower, bounds).map_err(failed)?;
            (unpacked, unpacked.diff_id, unpacked.length)
        } else {
            let mut packed = Digesting::new(file);
            let unpacked = unpack(&mut packed, place, &lower, bounds).map_err(failed)?;
            io::copy(&mut packed, &mut io::sink()).map_err(|error| failed(LayerError::Archive(error)))?;
            let length = packed.length();
            (unpacked, packed.finish(), length)
        };
        for (expected, found) in [(source.digest, blob), (source.diff_id, unpacked.diff_id)] {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                let (expected, found) = (expected.to_string(), found.to_string());
                return Err(failed(LayerError::WrongDigest { expected, found }));
            }
        }
        self.keep(source.path, &target, &diff_ids, (blob, blob_length), &unpacked)
    }

    /// Notes where the parts of a checked layer have to go.
    fn keep(
        &mut self,
        archive: &Path,
        target: &Path,
        below: &[Digest],
        blob: (Digest, u64),
        unpacked: &Unpacked,
    ) -> Result<CheckedLayer, Error> {
        let diff_ids = [below, &[unpacked.diff_id]].concat();
        self.put_blob(archive.to_owned(), blob.0);
        if let Some(chain) = Digest::chain(&diff_ids) {
            self.pinned.pin(Part::Layer(chain));
            if self.unpacked(&chain).is_none() {
                let size = target.join("size");
                fs::write(&size, unpacked.size.to_string())
                    .map_err(Error::io(format!("write {}", size.display())))?;
                self.ready.push((target.to_owned(), self.store.layer(&chain)));
            }
        }
        Ok(CheckedLayer {
            diff_id: unpacked.diff_id,
            compression: unpacked.compression,
            blob,
            size: unpacked.size,
            length: unpacked.length,
        })
    }

    fn known_layer(
        &self,
        source: &LayerSource<'_>,
        digest: Digest,
        chain: Digest,
        diff_id: Digest,
    ) -> Result<CheckedLayer, Error> {
        let path = self.store.blob(&digest);
        let failed = || Error::io(format!("read {}", path.display()));
        let mut blob = File::open(&path).map_err(failed())?;
        let length = blob.metadata().map_err(failed())?.len();
        let (compression, _) = compression::of(&mut blob)
            .map_err(|error| Error::Layer { layer: source.name.to_owned(), source: error })?;
        let size = self.store.layer_size(&chain);
        let size = size.ok_or_else(|| Error::InvalidImage(format!("layer {} went away", source.name)))?;
        Ok(CheckedLayer { diff_id, compression, blob: (digest, length), size, length: 0 })
    }

    /// Where the layer with this chain id is unpacked, here or in the store.
    fn unpacked(&self, chain: &Digest) -> Option<PathBuf> {
        let place = self.store.layer(chain);
        if self.store.layer_size(chain).is_some() {
            return Some(place.join("diff"));
        }
        let (from, _) = self.ready.iter().find(|(_, to)| *to == place)?;
        Some(from.join("diff"))
    }

    /// The unpacked layers of a stack, highest first.
    fn lower(&self, diff_ids: &[Digest]) -> Result<Vec<PathBuf>, Error> {
        let chains = (1..=diff_ids.len()).rev().filter_map(|count| Digest::chain(&diff_ids[..count]));
        let found = |chain: Digest| {
            self.unpacked(&chain).ok_or_else(|| Error::InvalidImage(format!("layer {chain} went away")))
        };
        chains.map(found).collect()
    }

    /// Adds an image of checked layers. Without a manifest it gets one. Returns its id.
    pub(crate) fn image(
        &mut self,
        configuration: &[u8],
        manifest: Option<&[u8]>,
        layers: &[CheckedLayer],
    ) -> Result<Digest, Error> {
        let id = Digest::of(configuration);
        let has_manifest = manifest.is_some();
        let manifest = if let Some(bytes) = manifest {
            bytes.to_vec()
        } else {
            let layers = layers.iter().map(|layer| (layer.blob.0, layer.blob.1, layer.compression));
            let manifest = Manifest::new((id, configuration.len() as u64), layers);
            serde_json::to_vec(&manifest).map_err(|error| Error::io("write a manifest")(error.into()))?
        };
        let record = Record {
            manifest: Digest::of(&manifest),
            layer_sizes: layers.iter().map(|layer| layer.size).collect(),
        };
        self.blob(configuration)?;
        self.blob(&manifest)?;
        self.images.push(NewImage { id, record, has_manifest });
        Ok(id)
    }

    /// Gives an image that is here another manifest.
    pub(crate) fn replace(&mut self, id: Digest, record: Record, manifest: &[u8]) -> Result<(), Error> {
        self.blob(manifest)?;
        self.images.push(NewImage { id, record, has_manifest: true });
        Ok(())
    }

    /// Takes a file as the blob with this digest.
    pub(crate) fn put_blob(&mut self, path: PathBuf, digest: Digest) {
        self.pinned.pin(Part::Blob(digest));
        self.ready.push((path, self.store.blob(&digest)));
    }

    fn blob(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let digest = Digest::of(bytes);
        let path = self.work.path().join(format!("blob-{}", digest.hex()));
        fs::write(&path, bytes).map_err(Error::io(format!("write {}", path.display())))?;
        self.put_blob(path, digest);
        Ok(())
    }

    /// Puts everything in place, and gives images their names.
    pub(crate) fn finish(self, names: &[(ImageReference, Digest)]) -> Result<(), Error> {
        // Contents before names: nothing stands in its place before it is whole on the disk.
        self.store.sync()?;
        let change = self.store.change();
        for (from, to) in &self.ready {
            put(from, to)?;
        }
        self.store.sync()?;
        let mut catalogue = Catalogue::clone(&self.store.catalogue());
        let mut unneeded = BTreeSet::new();
        for NewImage { id, record, has_manifest } in self.images {
            unneeded.insert(Part::Blob(record.manifest));
            if has_manifest || !catalogue.index.images.contains_key(&id) {
                unneeded.extend(catalogue.needs(&id));
                catalogue.parsed.insert(id, Arc::new(self.store.parse(&id, &record)?));
                catalogue.index.images.insert(id, record);
            }
        }
        unneeded.extend(self.pinned.parts().iter().copied());
        for (name, id) in names {
            catalogue.index.names.insert(kept_name(name), *id);
        }
        change.set(catalogue)?;
        drop(self.pinned);
        change.sweep(&unneeded);
        Ok(())
    }
}

/// Reads a configuration and checks what every image must have.
pub(crate) fn parse_configuration(bytes: &[u8]) -> Result<(Configuration, Vec<Digest>), Error> {
    let invalid = |why: String| Error::InvalidImage(format!("configuration: {why}"));
    let configuration: Configuration =
        serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    let Some(rootfs) = &configuration.rootfs else { return Err(invalid("it names no layers".into())) };
    if rootfs.kind != "layers" {
        return Err(invalid(format!("its root is of the unknown type {:?}", rootfs.kind)));
    }
    if !matches!(configuration.os.as_str(), "" | "linux") {
        return Err(invalid(format!("operating system {:?} is not supported", configuration.os)));
    }
    let diff_ids: Result<Vec<Digest>, _> = rootfs.diff_ids.iter().map(|text| text.parse()).collect();
    let diff_ids = diff_ids.map_err(|error| invalid(error.to_string()))?;
    Ok((configuration, diff_ids))
}

/// Counts what is read.
struct Watched<'a, R> {
    inner: R,
    transfer: &'a mut Transfer,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.transfer.add(length as u64);
        Ok(length)
    }
}

/// Moves a complete file or directory to its place, unless the same is there already. Only who may change the store may.
fn put(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        return Ok(());
    }
    fs::rename(from, to).map_err(Error::io(format!("move {} to its place", to.display())))
}
