//! What the layers below show under a path, as an overlay of them would.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, open, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The attribute of a directory that hides what lower layers have in it (kernel documentation, overlayfs).
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// How directories are opened to look up names in them; never through a symbolic link.
pub(crate) const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Unpacked layers, highest first.
pub(crate) struct Lower {
    roots: Vec<OwnedFd>,
}

/// Something that a lower layer shows.
#[derive(Debug)]
pub(crate) enum Found {
    /// A directory, opened for reading.
    Directory(OwnedFd),
    /// A symbolic link and its target.
    Symlink(OsString),
    /// A regular file, opened for reading.
    File(File),
    /// A device or pipe.
    Other,
}

impl Lower {
    pub(crate) fn open(layers: &[PathBuf]) -> io::Result<Self> {
        let roots = layers.iter().map(|layer| open(layer, DIRECTORY, Mode::empty()));
        Ok(Self { roots: roots.collect::<Result<_, Errno>>()? })
    }

    /// The highest layer's entry at `path`, unless a layer above it has hidden it. The empty path is the root.
    pub(crate) fn find(&self, path: &[OsString]) -> io::Result<Option<Found>> {
        for root in &self.roots {
            match look(root.as_fd(), path)? {
                Look::Found(found) => return Ok(Some(found)),
                Look::Hidden => return Ok(None),
                Look::Nothing => {}
            }
        }
        Ok(None)
    }
}

/// What one layer says of a path.
enum Look {
    Found(Found),
    /// It is gone, whatever lower layers have.
    Hidden,
    /// Lower layers decide.
    Nothing,
}

fn look(root: BorrowedFd<'_>, path: &[OsString]) -> io::Result<Look> {
    let mut at = openat(root, ".", DIRECTORY, Mode::empty())?;
    for (index, name) in path.iter().enumerate() {
        let opaque = is_opaque(at.as_fd());
        let stat = match statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if opaque => return Ok(Look::Hidden),
            Err(Errno::NOENT) => return Ok(Look::Nothing),
            Err(error) => return Err(error.into()),
        };
        if is_whiteout(&stat) {
            return Ok(Look::Hidden);
        }
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if index + 1 == path.len() {
            return found(at.as_fd(), name, &stat).map(Look::Found);
        }
        if !directory {
            return Ok(Look::Hidden);
        }
        at = openat(&at, name, DIRECTORY, Mode::empty())?;
    }
    Ok(Look::Found(Found::Directory(open_directory(at.as_fd(), OsStr::new("."))?)))
}

fn found(parent: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> io::Result<Found> {
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory(open_directory(parent, name)?),
        FileType::Symlink => {
            Found::Symlink(OsString::from_vec(readlinkat(parent, name, Vec::new())?.into_bytes()))
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Found::File(openat(parent, name, flags, Mode::empty())?.into())
        }
        _ => Found::Other,
    })
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Whether this is overlayfs's mark of a name that is gone: a character device 0, 0.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let Ok(readable) = open_directory(directory, OsStr::new(".")) else { return false };
    let mut value = [0; 1];
    matches!(fgetxattr(readable, OPAQUE_XATTR, &mut value), Ok(1) if value == *b"y")
}
