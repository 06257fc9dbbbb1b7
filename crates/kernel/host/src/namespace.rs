//! Namespaces as files: made, entered and removed as `ip netns` does it.

use crate::Error;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// The process's own namespace, whatever thread asks.
const OWN_NAMESPACE: &str = "/proc/self/ns/net";
/// The calling thread's namespace.
pub(crate) const THREAD_NAMESPACE: &str = "/proc/thread-self/ns/net";

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Namespace { action, path, source }
}

/// Runs `f` on a fresh thread that has entered the namespace of this file; without a file, the process's own
/// namespace. The thread ends afterwards, so nothing that `f` does can leave a thread in a foreign namespace.
///
/// # Panics
/// If `f` panics, so does the caller.
pub fn in_namespace<T: Send>(path: Option<&Path>, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let path = path.unwrap_or_else(|| Path::new(OWN_NAMESPACE));
    let file = File::open(path).map_err(failed("open namespace", path))?;
    on_fresh_thread(|| {
        enter(&file).map_err(failed("enter namespace", path))?;
        Ok(f())
    })?
}

/// Moves the calling thread into a namespace.
pub(crate) fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Runs `f` on a thread of its own, which may change namespaces as it likes.
pub(crate) fn on_fresh_thread<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("shoal-netns".into())
            .spawn_scoped(scope, f)
            .map_err(Error::Thread)?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Makes a namespace with `lo` up and keeps it by a file. If the file already holds a namespace, only `lo` is seen to.
pub fn create_namespace(path: &Path) -> Result<(), Error> {
    if is_namespace(path) {
        return in_namespace(Some(path), crate::links::raise_loopback)?.map_err(failed("raise lo in", path));
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("make the directory of", path))?;
    }
    File::create(path).map_err(failed("make the file of", path))?;
    let made = on_fresh_thread(|| -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        crate::links::raise_loopback()?;
        mount(Some(THREAD_NAMESPACE), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    })?;
    made.map_err(|source| {
        // The empty file would look like a namespace that somebody has unmounted; nothing more can be done if even
        // this fails, and the next attempt mounts over it.
        let _ = fs::remove_file(path);
        failed("make namespace", path)(source)
    })
}

/// Unmounts the namespace's file (at once out of sight, in fact when its last user ends) and removes it. An absent
/// one is fine.
pub fn remove_namespace(path: &Path) -> Result<(), Error> {
    unmount(path).map_err(failed("unmount namespace", path))?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove the file of", path)(e)),
        _ => Ok(()),
    }
}

/// Takes away every mount on `path`; several may lie on each other after crashes.
fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether the file is a network namespace (and not, say, the empty file that a crash left behind).
pub(crate) fn is_namespace(path: &Path) -> bool {
    // Namespace files live on a file system of their own.
    nix::sys::statfs::statfs(path).is_ok_and(|s| s.filesystem_type().0 == libc::NSFS_MAGIC)
}

/// Removes files that hold no namespace any more: what a crash in the middle of a removal leaves.
pub(crate) fn sweep(root: &Path) -> Result<(), Error> {
    for name in file_names(root)? {
        let path = root.join(name);
        if !is_namespace(&path) && fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() == 0) {
            fs::remove_file(&path).map_err(failed("remove the file of", &path))?;
        }
    }
    Ok(())
}

/// Prepares the directory of the namespace files: a mount of its own that shares its events, so that a namespace
/// removed here also goes away from mount namespaces copied from ours (as `ip netns` does).
pub(crate) fn prepare_root(root: &Path) -> Result<(), Error> {
    fs::create_dir_all(root).map_err(failed("make directory", root))?;
    let share = || mount(None::<&str>, root, None::<&str>, MsFlags::MS_SHARED, None::<&str>);
    match share() {
        Ok(()) => return Ok(()),
        Err(Errno::EINVAL) => {} // not a mount point yet
        Err(errno) => return Err(failed("share", root)(errno.into())),
    }
    mount(Some(root), root, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .and_then(|()| share())
        .map_err(|errno| failed("prepare", root)(errno.into()))
}

/// Undoes [`prepare_root`]: every namespace in the directory, its mount and the directory itself.
pub(crate) fn dismantle_root(root: &Path) -> Result<(), Error> {
    for name in file_names(root)? {
        remove_namespace(&root.join(name))?;
    }
    unmount(root).map_err(failed("unmount", root))?;
    match fs::remove_dir(root) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove directory", root)(e)),
        _ => Ok(()),
    }
}

/// Names of the files in the directory, in order; none if there is no directory.
pub(crate) fn file_names(root: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("list", root))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("list", root))?.file_name();
        // Names are given by Shoal and are plain ASCII; others are not its own.
        names.extend(name.into_string().ok());
    }
    names.sort();
    Ok(names)
}
