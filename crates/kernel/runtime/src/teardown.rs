//! Taking a container apart: one way, whatever state it was found in, and as often as wanted.

use crate::Error;
use crate::cgroup::Cgroup;
use crate::runtime::FINISHED;
use crate::state_dir::StateDir;
use crate::wire::{self, Request};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest time for all of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest time for a shim to end by itself.
const ORDERLY: Duration = Duration::from_secs(5);

/// Ends whatever still lives and removes everything. Nothing is left, or an error says what is.
pub(crate) fn remove(directory: &StateDir) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    // First the shim: while it lives it may still be making things.
    end_shim(directory, deadline)?;
    if let Some(birth) = directory.birth()? {
        let cgroup = Cgroup::at(&birth.cgroup);
        cgroup.kill_all(deadline)?;
        cgroup.remove(deadline)?;
    }
    for mount in [directory.rootfs(), directory.files()] {
        unmount(&mount)?;
        // Removing a mount point that still is one fails, which keeps what is mounted there from being emptied below.
        match fs::remove_dir(&mount) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { action: "remove", path: mount, source }),
        }
    }
    let fail = |action| {
        let path = directory.path().to_owned();
        move |source| Error::Io { action, path, source }
    };
    // Gone in one step: half a directory would be no container, and in the way of the next with this id.
    let finished = directory.path().with_file_name(format!("{FINISHED}{}", directory.id()));
    match fs::rename(directory.path(), &finished) {
        Ok(()) => fs::remove_dir_all(&finished).map_err(fail("clear")),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(fail("remove")(e)),
    }
}

/// Ends the container through its shim, which then ends by itself with everything reaped; kills the shim if it does not.
fn end_shim(directory: &StateDir, deadline: Instant) -> Result<(), Error> {
    let kill = Request::Signal { signal: libc::SIGKILL };
    let is_asked = directory.connect().is_ok_and(|socket| wire::send(&socket, &kill, &[]).is_ok());
    let patience = if is_asked { Instant::now() + ORDERLY } else { Instant::now() };
    if !wait_for_shim(directory, patience) {
        directory.kill_shim();
    }
    if wait_for_shim(directory, deadline) {
        Ok(())
    } else {
        Err(Error::Timeout(format!("the shim of container {}", directory.id())))
    }
}

fn wait_for_shim(directory: &StateDir, deadline: Instant) -> bool {
    loop {
        if directory.shim().is_none() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Unmounts all that is mounted at a path.
fn unmount(path: &Path) -> Result<(), Error> {
    loop {
        match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point, or not there.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            // Someone looks into it: it goes when he leaves.
            Err(Errno::EBUSY) => {
                umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH).map_err(|e| fail(path, e))?;
            }
            Err(e) => return Err(fail(path, e)),
        }
    }
}

fn fail(path: &Path, errno: Errno) -> Error {
    Error::Io { action: "unmount", path: path.to_owned(), source: errno.into() }
}
