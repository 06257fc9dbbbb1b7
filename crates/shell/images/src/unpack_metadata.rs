//! Owner, mode, times and extended attributes of what is unpacked.

use crate::tar_stream::Entry;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, fstat, futimens, lsetxattr, openat, utimensat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Attributes that are overlayfs's own, which an archive could use to lead it astray, and the labels of the security
/// module of the machine where the archive was made.
const NOT_TAKEN_OVER: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux"];
/// Most bytes of one attribute's value (xattr(7)).
const LONGEST_VALUE: usize = 64 << 10;

/// What a file has besides its contents.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl From<&Entry> for Metadata {
    fn from(entry: &Entry) -> Self {
        let xattrs = entry.xattrs.clone();
        Self { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs }
    }
}

impl Metadata {
    /// What an open file or directory has.
    pub(crate) fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let stat = fstat(file)?;
        let mut names = vec![0; LONGEST_VALUE];
        let length = flistxattr(file, names.as_mut_slice())?;
        let mut xattrs = Vec::new();
        for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; LONGEST_VALUE];
            let length = fgetxattr(file, OsStr::from_bytes(name), value.as_mut_slice())?;
            value.truncate(length);
            xattrs.push((name.to_vec(), value));
        }
        let mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default());
        Ok(Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs })
    }

    /// What a directory gets that an archive does not mention.
    pub(crate) fn of_new_directory() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), xattrs: Vec::new() }
    }

    /// All of it, to a file that is open for writing.
    pub(crate) fn apply_to_file(&self, file: &File) -> io::Result<()> {
        self.apply_to_open(file.as_fd())?;
        Ok(futimens(file, &times(self.mtime))?)
    }

    /// All but the times, to a directory opened as a path; its times change with each entry that is put into it.
    pub(crate) fn apply_to_directory(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        self.apply_to_open(reopened(directory)?.as_fd())
    }

    /// The times of a directory opened as a path.
    pub(crate) fn set_times_of_directory(directory: BorrowedFd<'_>, mtime: (i64, u32)) -> io::Result<()> {
        Ok(futimens(reopened(directory)?, &times(mtime))?)
    }

    /// All that a symbolic link has; it has no mode.
    pub(crate) fn apply_to_symlink(&self, at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        self.apply_at(at, name)
    }

    /// All of it, to a device or pipe, which must not be opened.
    pub(crate) fn apply_to_special(&self, at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        self.apply_at(at, name)?;
        chmodat(at, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        Ok(utimensat(at, name, &times(self.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The mode after the owner: a change of owner takes the set-id bits away, and the capabilities.
    fn apply_to_open(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in self.xattrs() {
            tolerated(name, fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()))?;
        }
        Ok(())
    }

    fn apply_at(&self, at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        let path = Path::new(&format!("/proc/self/fd/{}", at.as_raw_fd())).join(name);
        for (name, value) in self.xattrs() {
            tolerated(name, lsetxattr(&path, OsStr::from_bytes(name), value, XattrFlags::empty()))?;
        }
        Ok(utimensat(at, name, &times(self.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn xattrs(&self) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
        self.xattrs.iter().filter(|(name, _)| !NOT_TAKEN_OVER.iter().any(|prefix| name.starts_with(prefix)))
    }
}

/// A directory opened as a path, opened so that it can be changed.
pub(crate) fn reopened(directory: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, ".", flags, Mode::empty())
}

/// Attributes that this file system or kind of file cannot have are left out, as Docker does; capabilities are not,
/// since a program without them would fail later and without a reason.
fn tolerated(name: &[u8], result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) if name != b"security.capability" => Ok(()),
        other => other,
    }
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time, last_modification: time }
}
