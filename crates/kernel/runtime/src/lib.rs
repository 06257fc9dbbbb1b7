//! Containers: one small shim process each, which owns the container's standard streams, its log, its exit status and
//! its exec sessions, so that containers outlive the daemon.
//!
//! Owns: the root file system's mount, the OCI configuration, the cgroup, the shim and the protocol it is asked by, the
//! json-file log and its readers. The daemon asks through [`Runtime`]; the shim itself is [`shim_main`], run by the same
//! binary re-executed from a sealed copy in memory (CVE-2019-5736).
//!
//! Must never: call libcontainer in the daemon's own process (it forks and changes process state); touch networking
//! beyond joining a namespace by path; decide what should run; keep anything that cannot be observed again.

pub mod logs;

mod attach;
mod cgroup;
mod clock;
mod error;
mod exec;
mod failure;
mod info;
mod kill;
mod runtime;
mod seal;
mod shim;
mod shim_process;
mod spec;
mod state_dir;
mod teardown;
mod wire;

pub use attach::{AttachSpec, Attachment};
pub use error::Error;
pub use exec::{ExecControl, ExecProcess, ExecSpec, ExecStdio};
pub use info::ContainerInfo;
pub use runtime::{Runtime, RuntimeConfig};
pub use shim::shim_main;
pub use spec::{BindMount, ContainerSpec, FileMount, Limits, MountKind, RootFs};
