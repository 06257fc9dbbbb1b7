//! The private bpffs that keeps maps and links alive while no daemon runs.
//!
//! Below the mount there is one directory a version of the maps' layout, with `maps/` and `attached/` in it. A daemon
//! with another layout starts beside its predecessor, which goes on serving until the first sync has filled the new
//! maps, and is succeeded then (see `upgrade.rs`).

use crate::Error;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{FsType, statfs};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Layout of the maps. Changes whenever a key, a value or the meaning of either changes.
const VERSION: &str = "v2";

/// `BPF_FS_MAGIC` in `linux/magic.h`.
const BPF_FS: FsType = FsType(0xcafe_4a11_u32 as _);

/// The mounted file system.
#[derive(Debug, Clone)]
pub(crate) struct PinRoot {
    root: PathBuf,
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

impl PinRoot {
    /// Mounts it, unless an earlier process did.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let pins = Self { root: root.to_owned() };
        pins.restore()?;
        Ok(pins)
    }

    /// Makes sure that it is mounted and has our directories, whoever took them away.
    pub(crate) fn restore(&self) -> Result<(), Error> {
        let root = self.root.as_path();
        fs::create_dir_all(root).map_err(at("making", root))?;
        if !is_mounted(root)? {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("shoal"), root, Some("bpf"), flags, Some("mode=0700"))
                .map_err(|e| at("mounting a bpffs on", root)(e.into()))?;
        }
        for directory in [self.maps(), self.attached()] {
            fs::create_dir_all(&directory).map_err(at("making", &directory))?;
        }
        Ok(())
    }

    /// What an earlier process left, if anything is mounted.
    pub(crate) fn existing(root: &Path) -> Result<Option<Self>, Error> {
        Ok((root.exists() && is_mounted(root)?).then(|| Self { root: root.to_owned() }))
    }

    /// Directory of the pinned maps.
    pub(crate) fn maps(&self) -> PathBuf {
        self.root.join(VERSION).join("maps")
    }

    /// Directory of what is attached: links, and programs that run as filters.
    pub(crate) fn attached(&self) -> PathBuf {
        self.root.join(VERSION).join("attached")
    }

    /// Directories of other versions than ours.
    pub(crate) fn outdated(&self) -> Result<Vec<PathBuf>, Error> {
        let own = self.root.join(VERSION);
        Ok(self.versions()?.into_iter().filter(|path| *path != own).collect())
    }

    /// Every version's directory. The kernel itself puts files of its own into every bpffs (`maps.debug`).
    pub(crate) fn versions(&self) -> Result<Vec<PathBuf>, Error> {
        let is_version = |name: &String| name.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
        Ok(names(&self.root)?.into_iter().filter(is_version).map(|name| self.root.join(name)).collect())
    }

    /// Unmounts it and removes its directory.
    pub(crate) fn unmount(self) -> Result<(), Error> {
        umount2(&self.root, MntFlags::MNT_DETACH).map_err(|e| at("unmounting", &self.root)(e.into()))?;
        fs::remove_dir(&self.root).map_err(at("removing", &self.root))
    }
}

/// Removes a version's directory with all pins in it.
pub(crate) fn remove_version(directory: &Path) -> Result<(), Error> {
    fs::remove_dir_all(directory).map_err(at("removing", directory))
}

/// Names of what is pinned in `directory`; nothing when there is no such directory.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(at("reading", directory)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(at("reading", directory))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn is_mounted(root: &Path) -> Result<bool, Error> {
    let found = statfs(root).map_err(|e| at("examining", root)(e.into()))?;
    Ok(found.filesystem_type() == BPF_FS)
}
