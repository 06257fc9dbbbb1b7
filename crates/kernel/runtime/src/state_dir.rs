//! A container's directory under the state root: what is in it and who lives behind it.
//!
//! | entry | what |
//! |---|---|
//! | `spec.json` | what was asked for, without the content of files; there from the first moment on |
//! | `state.json` | what became of it; written by the shim, or by the daemon once the shim is dead |
//! | `lock` | locked by the shim while it lives (a POSIX record lock: forks do not inherit it) |
//! | `shim.sock`, `shim.log` | the shim's socket and its last words |
//! | `rootfs/`, `files/` | mount points: the overlay, and the memory that holds generated files |
//! | `bundle/`, `libcontainer/`, `execs/` | libcontainer's input and state |

use crate::spec::ContainerSpec;
use crate::{Error, kill};
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_model::Timestamp;
use shoal_model::assignment::ContainerState;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Birth {
    pub(crate) spec: ContainerSpec,
    pub(crate) created_at: Timestamp,
    /// The container's cgroup.
    pub(crate) cgroup: String,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) state: ContainerState,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) pid: Option<u32>,
    pub(crate) error: Option<String>,
}

/// Paths of one container.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn id(&self) -> String {
        self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.path.join("bundle")
    }

    pub(crate) fn libcontainer(&self) -> PathBuf {
        self.path.join("libcontainer")
    }

    pub(crate) fn execs(&self) -> PathBuf {
        self.path.join("execs")
    }

    pub(crate) fn shim_log(&self) -> PathBuf {
        self.path.join("shim.log")
    }

    pub(crate) fn birth(&self) -> Result<Option<Birth>, Error> {
        read_json(&self.path.join("spec.json"))
    }

    pub(crate) fn life(&self) -> Result<Option<Life>, Error> {
        read_json(&self.path.join("state.json"))
    }

    pub(crate) fn write_birth(&self, birth: &Birth) -> Result<(), Error> {
        write_json(&self.path, "spec.json", birth)
    }

    pub(crate) fn write_life(&self, life: &Life) -> Result<(), Error> {
        write_json(&self.path, "state.json", life)
    }

    /// Locks the directory for the shim's life. Keep the file open, and never open the lock again in that process:
    /// closing any descriptor of it would end the lock.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        let path = self.path.join("lock");
        let fail = |action| {
            let path = path.clone();
            move |source| Error::Io { action, path, source }
        };
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(fail("open"))?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| fail("lock")(e.into()))?;
        Ok(file)
    }

    /// The shim's process id, if it lives.
    pub(crate) fn shim(&self) -> Option<u32> {
        let file = File::options().write(true).open(self.path.join("lock")).ok()?;
        let wanted = Flock {
            start: 0,
            length: 0,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        let held = fcntl_getlk(&file, &wanted).ok()??;
        held.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// Kills the shim if it lives; its container dies with it.
    pub(crate) fn kill_shim(&self) {
        if let Some(pid) = self.shim() {
            // The lock is asked again once the process is pinned, so that nobody else is hit.
            kill::kill_if(pid, || self.shim() == Some(pid));
        }
    }

    /// Listens at the shim's socket.
    pub(crate) fn listen(&self) -> std::io::Result<OwnedFd> {
        let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let (_directory, address) = self.address("shim.sock")?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 64)?;
        Ok(socket)
    }

    /// Connects to the shim.
    pub(crate) fn connect(&self) -> std::io::Result<OwnedFd> {
        let socket = seqpacket(SocketFlags::CLOEXEC)?;
        let (_directory, address) = self.address("shim.sock")?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket)
    }

    /// The address of a socket in this directory. Addresses hold at most 108 bytes, so the directory is named by a
    /// descriptor, which must outlive the use of the address.
    pub(crate) fn address(&self, name: &str) -> std::io::Result<(OwnedFd, SocketAddrUnix)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
        Ok((directory, address))
    }
}

fn seqpacket(flags: SocketFlags) -> std::io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let fail = |action| move |source| Error::Io { action, path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| fail("parse")(e.into())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fail("read")(e)),
    }
}

/// Writes a file so that readers see the old one or the new one, never a part.
fn write_json<T: Serialize>(directory: &Path, name: &str, value: &T) -> Result<(), Error> {
    let path = directory.join(name);
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let fail = |action| {
        let path = path.clone();
        move |source| Error::Io { action, path, source }
    };
    let bytes = serde_json::to_vec(value).map_err(|e| fail("encode")(e.into()))?;
    fs::write(&temporary, bytes).map_err(fail("write"))?;
    fs::rename(&temporary, &path).map_err(fail("replace"))
}
