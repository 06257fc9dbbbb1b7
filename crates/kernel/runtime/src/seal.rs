//! The shim runs from a sealed copy of the binary in memory, so that a container that reaches `/proc/<shim>/exe` cannot
//! write the host's binary (CVE-2019-5736), and so that an upgrade on disk does not touch running shims.

use crate::Error;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const NAME: &str = "shoal-shim";

/// A read-only copy of `executable` that nobody can change. One copy serves every shim of a daemon: they share its pages.
pub(crate) fn sealed_copy(executable: &Path) -> Result<OwnedFd, Error> {
    let fail = |action| move |source| Error::Io { action, path: executable.to_owned(), source };
    let mut from = File::open(executable).map_err(fail("open"))?;
    let memory = memory_file().map_err(fail("make a memory file for"))?;
    let mut to = File::from(memory);
    std::io::copy(&mut from, &mut to).map_err(fail("copy"))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&to, seals).map_err(|e| fail("seal the copy of")(e.into()))?;
    Ok(to.into())
}

fn memory_file() -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know MFD_EXEC; later ones may be set up to refuse executing memory files without it.
    match memfd_create(NAME, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => Ok(memfd_create(NAME, flags)?),
        other => Ok(other?),
    }
}

/// Whether the running binary is such a copy.
pub(crate) fn is_sealed() -> bool {
    File::open("/proc/self/exe").is_ok_and(|exe| {
        fcntl_get_seals(exe.as_fd()).is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SHRINK))
    })
}
