//! Unpacks one layer into a directory of its own, in the form that overlayfs wants as a lower directory.
//!
//! Names are walked component by component with `O_NOFOLLOW`, so the kernel never follows a link that came in an
//! archive. Symbolic links among the parents of an entry are followed by us, and only while they stay in the layer.

use crate::compression::{Compression, decompressed};
use crate::digest::{Digest, Digesting};
use crate::error::LayerError;
use crate::layer_path::{self, Meaning};
use crate::lower::{DIRECTORY, Found, Lower, OPAQUE_XATTR, is_whiteout};
use crate::tar_stream::{Entry, Kind, TarReader};
use crate::unpack_metadata::{Metadata, reopened};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, XattrFlags, fsetxattr, linkat, makedev, mkdirat, mknodat, open,
    openat, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Most symbolic links on the way to one entry, as the kernel's own bound.
const MOST_LINKS: usize = 40;
const COPY_BUFFER: usize = 128 << 10;

/// How much one layer may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of the archive without its compression.
    pub(crate) bytes: u64,
    /// Entries of the archive.
    pub(crate) entries: u64,
}

/// What a layer turned out to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpacked {
    /// Digest of the archive without its compression.
    pub(crate) diff_id: Digest,
    /// Length of the archive without its compression.
    pub(crate) length: u64,
    /// Bytes of all its files.
    pub(crate) size: u64,
    pub(crate) compression: Compression,
}

/// Unpacks `archive` into the existing, empty directory `target`, above the unpacked layers `lower` (highest first).
/// Without a target it is only checked. On an error the target holds anything.
pub(crate) fn unpack(
    archive: impl Read,
    target: Option<&Path>,
    lower: &[PathBuf],
    bounds: Bounds,
) -> Result<Unpacked, LayerError> {
    let (plain, compression) = decompressed(archive)?;
    let mut plain = Digesting::new(Bounded { inner: plain, left: bounds.bytes });
    let size = entries(&mut plain, target, lower, bounds).map_err(|error| match error {
        LayerError::Archive(error) if is_out_of_bounds(&error) => {
            LayerError::TooLarge { what: "bytes:", bound: bounds.bytes }
        }
        other => other,
    })?;
    Ok(Unpacked { length: plain.length(), diff_id: plain.finish(), size, compression })
}

fn entries(
    plain: &mut impl Read,
    target: Option<&Path>,
    lower: &[PathBuf],
    bounds: Bounds,
) -> Result<u64, LayerError> {
    let mut archive = TarReader::new(plain);
    let at = |error: io::Error| LayerError::Unpack { name: ".".into(), source: error };
    let mut unpacker = target.map(|target| Unpacker::new(target, lower)).transpose().map_err(at)?;
    let (mut count, mut size) = (0, 0);
    while let Some(entry) = archive.next_entry()? {
        count += 1;
        if count > bounds.entries {
            return Err(LayerError::TooLarge { what: "entries:", bound: bounds.entries });
        }
        size += entry.size;
        if let Some(unpacker) = &mut unpacker {
            unpacker.add(&entry, &mut archive).map_err(|trouble| trouble.of(&entry))?;
        }
    }
    archive.drain()?;
    unpacker.map(Unpacker::finish).transpose().map_err(at)?;
    Ok(size)
}

/// Ends with an error, not silently, where a stream is longer than it may be.
struct Bounded<R> {
    inner: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("too many bytes")]
struct OutOfBounds;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| io::Error::other(OutOfBounds))?;
        Ok(length)
    }
}

fn is_out_of_bounds(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<OutOfBounds>()).is_some()
}

/// Why one entry cannot be unpacked.
enum Trouble {
    Refused(String),
    Layer(LayerError),
    Io(io::Error),
}

impl Trouble {
    fn of(self, entry: &Entry) -> LayerError {
        match self {
            Self::Refused(why) => LayerError::Refused { name: entry.shown(), why },
            Self::Layer(error) => error,
            Self::Io(source) => LayerError::Unpack { name: entry.shown(), source },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

fn refused<T>(why: &str) -> Result<T, Trouble> {
    Err(Trouble::Refused(why.into()))
}

/// A directory of the layer, with its place below the root.
struct Directory {
    fd: OwnedFd,
    path: Vec<OsString>,
}

/// Where a walk ended.
enum Walk {
    Here(Rc<Directory>),
    /// This layer has no such directory; the place where lower layers may have it.
    Missing(Vec<OsString>),
}

enum Step {
    Into(OwnedFd),
    Link(OsString),
    Missing,
}

/// What stood in the place of a new entry.
#[derive(PartialEq)]
enum Before {
    Nothing,
    Directory,
    Whiteout,
}

struct Unpacker {
    root: OwnedFd,
    lower: Lower,
    lower_roots: Vec<PathBuf>,
    /// Directories get their times when nothing is put into them any more.
    times: BTreeMap<Vec<OsString>, (i64, u32)>,
    /// The directory of the last entry; the next one is mostly there too.
    last: Option<(Vec<OsString>, Rc<Directory>)>,
}

impl Unpacker {
    fn new(target: &Path, lower_roots: &[PathBuf]) -> io::Result<Self> {
        let root = open(target, DIRECTORY, Mode::empty())?;
        let lower = Lower::open(lower_roots)?;
        let mut times = BTreeMap::new();
        if let Some(Found::Directory(below)) = lower.find(&[])? {
            let metadata = Metadata::of(below.as_fd())?;
            metadata.apply_to_directory(root.as_fd())?;
            times.insert(Vec::new(), metadata.mtime);
        }
        Ok(Self { root, lower, lower_roots: lower_roots.to_vec(), times, last: None })
    }

    fn add(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), Trouble> {
        match layer_path::meaning(&entry.name).map_err(Trouble::Refused)? {
            Meaning::Root if entry.kind == Kind::Directory => {
                let metadata = Metadata::from(entry);
                metadata.apply_to_directory(self.root.as_fd())?;
                self.times.insert(Vec::new(), metadata.mtime);
                Ok(())
            }
            Meaning::Root => refused("is the root and no directory"),
            Meaning::Place { parent, name } => self.place(entry, &parent, name, data),
            Meaning::Whiteout { parent, name } => self.hide(&parent, name),
            Meaning::Opaque { directory } if directory.is_empty() => self.hide_all_of_root(),
            Meaning::Opaque { directory } => {
                let Some(directory) = self.directory_to_hide_in(&directory)? else { return Ok(()) };
                set_opaque(directory.fd.as_fd())
            }
            Meaning::Nothing => Ok(()),
        }
    }

    fn place(
        &mut self,
        entry: &Entry,
        parent: &[&OsStr],
        name: &OsStr,
        data: &mut impl Read,
    ) -> Result<(), Trouble> {
        if entry.kind == Kind::HardLink {
            return self.link(entry, parent, name);
        }
        let directory = self.directory(parent)?;
        let before = self.clear(&directory, name, entry.kind == Kind::Directory)?;
        let at = directory.fd.as_fd();
        let metadata = Metadata::from(entry);
        match entry.kind {
            Kind::File => {
                let mut file = create(at, name)?;
                copy(data, &mut file)?;
                metadata.apply_to_file(&file)?;
            }
            Kind::Directory => {
                if before != Before::Directory {
                    mkdirat(at, name, Mode::RWXU)?;
                }
                let fd = openat(at, name, DIRECTORY, Mode::empty())?;
                metadata.apply_to_directory(fd.as_fd())?;
                if before == Before::Whiteout {
                    set_opaque(fd.as_fd())?;
                }
                let mut path = directory.path.clone();
                path.push(name.to_owned());
                self.times.insert(path, metadata.mtime);
            }
            Kind::Symlink => {
                symlinkat(OsStr::from_bytes(&entry.link), at, name)?;
                metadata.apply_to_symlink(at, name)?;
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let file_type = match entry.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                mknodat(at, name, file_type, Mode::empty(), makedev(entry.device.0, entry.device.1))?;
                metadata.apply_to_special(at, name)?;
            }
            Kind::HardLink => {}
        }
        Ok(())
    }

    /// A hard link to an entry of this layer, or a copy of a lower layer's file: links cannot span layers.
    fn link(&mut self, entry: &Entry, parent: &[&OsStr], name: &OsStr) -> Result<(), Trouble> {
        let mut target = layer_path::components(&entry.link).map_err(|_| {
            Trouble::Refused(format!(
                "is a link to {:?}, outside of the layer",
                String::from_utf8_lossy(&entry.link)
            ))
        })?;
        let missing = || {
            let target = String::from_utf8_lossy(&entry.link);
            Trouble::Refused(format!("is a link to {target:?}, which is not there or is no file"))
        };
        let Some(target_name) = target.pop() else { return Err(missing()) };
        let lower_path = match self.walk(&target, false)? {
            Walk::Here(source) => match statat(&source.fd, target_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    return Err(missing());
                }
                Ok(stat) if is_whiteout(&stat) => return Err(missing()),
                Ok(_) => {
                    let directory = self.directory(parent)?;
                    if directory.path == source.path && name == target_name {
                        return refused("is a link to itself");
                    }
                    self.clear(&directory, name, false)?;
                    linkat(&source.fd, target_name, &directory.fd, name, AtFlags::empty())?;
                    return Ok(());
                }
                Err(Errno::NOENT) => [source.path.as_slice(), &[target_name.to_owned()]].concat(),
                Err(error) => return Err(error.into()),
            },
            Walk::Missing(mut path) => {
                path.push(target_name.to_owned());
                path
            }
        };
        let Some(Found::File(mut below)) = self.lower.find(&lower_path)? else { return Err(missing()) };
        let directory = self.directory(parent)?;
        self.clear(&directory, name, false)?;
        let mut file = create(directory.fd.as_fd(), name)?;
        io::copy(&mut below, &mut file)?;
        Metadata::of(below.as_fd())?.apply_to_file(&file)?;
        Ok(())
    }

    /// Marks `name` as gone, unless this layer has it anew: then only what is below is gone.
    fn hide(&mut self, parent: &[&OsStr], name: &OsStr) -> Result<(), Trouble> {
        let Some(directory) = self.directory_to_hide_in(parent)? else { return Ok(()) };
        match statat(&directory.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                set_opaque(openat(&directory.fd, name, DIRECTORY, Mode::empty())?.as_fd())
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                Ok(mknodat(&directory.fd, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Overlayfs does not heed the mark of an opaque directory on the root of a layer, so each name is hidden.
    fn hide_all_of_root(&mut self) -> Result<(), Trouble> {
        let mut names = Vec::new();
        for root in &self.lower_roots {
            for entry in fs::read_dir(root)? {
                names.push(entry?.file_name());
            }
        }
        names.iter().try_for_each(|name| self.hide(&[], name))
    }

    /// The directory, made where only lower layers have it; `None` where nobody does and so nothing is to be hidden.
    fn directory_to_hide_in(&mut self, components: &[&OsStr]) -> Result<Option<Rc<Directory>>, Trouble> {
        match self.walk(components, false)? {
            Walk::Here(directory) => Ok(Some(directory)),
            Walk::Missing(path) => match self.lower.find(&path)? {
                Some(Found::Directory(_)) => self.directory(components).map(Some),
                _ => Ok(None),
            },
        }
    }

    /// The directory at `components`, made where it is missing.
    fn directory(&mut self, components: &[&OsStr]) -> Result<Rc<Directory>, Trouble> {
        match self.walk(components, true)? {
            Walk::Here(directory) => Ok(directory),
            Walk::Missing(_) => refused("lies in a directory that cannot be made"),
        }
    }

    fn walk(&mut self, components: &[&OsStr], make: bool) -> Result<Walk, Trouble> {
        if let Some((known, directory)) = &self.last
            && known.as_slice() == components
        {
            return Ok(Walk::Here(Rc::clone(directory)));
        }
        let mut pending: VecDeque<OsString> = components.iter().map(|&part| part.to_owned()).collect();
        let (mut fd, mut path, mut links) = (self.reopen(&[])?, Vec::new(), 0);
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                if path.pop().is_none() {
                    return refused("leads out of the layer through a symbolic link");
                }
                fd = self.reopen(&path)?;
                continue;
            }
            match self.step(fd.as_fd(), &path, &name, make)? {
                Step::Into(next) => {
                    path.push(name);
                    fd = next;
                }
                Step::Link(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return refused("leads through too many symbolic links");
                    }
                    if target.as_bytes().starts_with(b"/") {
                        (fd, path) = (self.reopen(&[])?, Vec::new());
                    }
                    let parts = target.as_bytes().split(|&byte| byte == b'/').rev();
                    for part in parts.filter(|part| !part.is_empty() && *part != b".") {
                        pending.push_front(OsString::from_vec(part.to_vec()));
                    }
                }
                Step::Missing => {
                    path.push(name);
                    path.extend(pending);
                    return Ok(Walk::Missing(path));
                }
            }
        }
        let directory = Rc::new(Directory { fd, path });
        self.last = Some((components.iter().map(|&part| part.to_owned()).collect(), Rc::clone(&directory)));
        Ok(Walk::Here(directory))
    }

    /// One component of a walk, in the directory `at`, whose place is `path`.
    fn step(
        &mut self,
        at: BorrowedFd<'_>,
        path: &[OsString],
        name: &OsStr,
        make: bool,
    ) -> Result<Step, Trouble> {
        match openat(at, name, DIRECTORY, Mode::empty()) {
            Ok(next) => return Ok(Step::Into(next)),
            Err(Errno::NOENT) => return self.step_below(at, path, name, make),
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error.into()),
        }
        let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let target = readlinkat(at, name, Vec::new())?.into_bytes();
            if target.starts_with(b"/") {
                return refused("leads out of the layer through a symbolic link");
            }
            return Ok(Step::Link(OsString::from_vec(target)));
        }
        if !is_whiteout(&stat) {
            return refused("lies below what is no directory");
        }
        if !make {
            return Ok(Step::Missing);
        }
        unlinkat(at, name, AtFlags::empty())?;
        mkdirat(at, name, Mode::from_raw_mode(0o755))?;
        let next = openat(at, name, DIRECTORY, Mode::empty())?;
        set_opaque(next.as_fd())?;
        Ok(Step::Into(next))
    }

    /// A component that this layer does not have. A directory of lower layers is made here with the same owner, mode
    /// and attributes, since it will be the one that an overlay shows.
    fn step_below(
        &mut self,
        at: BorrowedFd<'_>,
        path: &[OsString],
        name: &OsStr,
        make: bool,
    ) -> Result<Step, Trouble> {
        let place = [path, &[name.to_owned()]].concat();
        let below = match self.lower.find(&place)? {
            Some(Found::Symlink(target)) => return Ok(Step::Link(target)),
            Some(Found::Directory(below)) => Some(below),
            _ => None,
        };
        if !make {
            return Ok(Step::Missing);
        }
        mkdirat(at, name, Mode::from_raw_mode(0o755))?;
        let next = openat(at, name, DIRECTORY, Mode::empty())?;
        if let Some(below) = below {
            let metadata = Metadata::of(below.as_fd())?;
            metadata.apply_to_directory(next.as_fd())?;
            self.times.insert(place, metadata.mtime);
        } else {
            Metadata::of_new_directory().apply_to_directory(next.as_fd())?;
        }
        Ok(Step::Into(next))
    }

    /// Makes room for a new entry.
    fn clear(&mut self, directory: &Directory, name: &OsStr, for_directory: bool) -> Result<Before, Trouble> {
        let stat = match statat(&directory.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Before::Nothing),
            Err(error) => return Err(error.into()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory && for_directory {
            return Ok(Before::Directory);
        }
        self.last = None;
        if is_directory {
            let mut place = directory.path.clone();
            place.push(name.to_owned());
            self.times.retain(|path, _| !path.starts_with(&place));
            fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", directory.fd.as_raw_fd())).join(name))?;
        } else {
            unlinkat(&directory.fd, name, AtFlags::empty())?;
        }
        Ok(if is_whiteout(&stat) { Before::Whiteout } else { Before::Nothing })
    }

    /// Opens a directory of this layer that was walked before.
    fn reopen(&self, path: &[OsString]) -> Result<OwnedFd, Errno> {
        path.iter().try_fold(openat(&self.root, ".", DIRECTORY, Mode::empty())?, |at, name| {
            openat(&at, name, DIRECTORY, Mode::empty())
        })
    }

    fn finish(self) -> io::Result<()> {
        for (path, mtime) in &self.times {
            match self.reopen(path) {
                Ok(directory) => Metadata::set_times_of_directory(directory.as_fd(), *mtime)?,
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn create(at: BorrowedFd<'_>, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Copies an entry's data; an end that comes too early is the archive's fault, not the file's.
fn copy(data: &mut impl Read, file: &mut File) -> Result<(), Trouble> {
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        let length = data.read(&mut buffer).map_err(|error| Trouble::Layer(LayerError::Archive(error)))?;
        if length == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..length])?;
    }
}

fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Trouble> {
    Ok(fsetxattr(reopened(directory)?, OPAQUE_XATTR, b"y", XattrFlags::empty())?)
}

/// Brings everything of the file system that holds `path` to the disk.
pub(crate) fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
