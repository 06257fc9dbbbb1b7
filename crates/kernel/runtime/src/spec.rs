//! What a container is made of, as the daemon asks for it.

use serde::{Deserialize, Serialize};
use shoal_model::spec::Ulimit;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A container to make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// 64 hexadecimal characters.
    pub id: String,
    /// Kept with the container and returned with every observation (a task's id, for instance).
    pub annotations: BTreeMap<String, String>,
    /// Its root file system.
    pub rootfs: RootFs,
    /// The network namespace to join, by path; absent means the one the daemon is in.
    pub network_namespace: Option<PathBuf>,
    /// Host name inside.
    pub hostname: String,
    /// Domain name inside; empty leaves the kernel's.
    pub domainname: String,
    /// The command, its name first. The name is looked up in the container's own `PATH`.
    pub args: Vec<String>,
    /// `KEY=value` pairs; `PATH`, `HOSTNAME`, `HOME` and (with a terminal) `TERM` are added where missing.
    pub env: Vec<String>,
    /// Working directory, made where missing; empty means `/`.
    pub cwd: String,
    /// `""`, `name`, `uid`, `user:group`: resolved against the root file system's `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// Further groups, by name or number.
    pub groups: Vec<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The terminal's first size: rows, columns.
    pub terminal_size: Option<(u16, u16)>,
    /// Whether standard input is a pipe that attaching clients write to; otherwise it is `/dev/null`.
    pub open_stdin: bool,
    /// Whether standard input ends when the first client that attached to it goes.
    pub stdin_once: bool,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Volumes, bind mounts and tmpfs.
    pub mounts: Vec<BindMount>,
    /// Files whose content the daemon gives: `/etc/hosts`, `/etc/resolv.conf`, secrets. Kept in memory only.
    pub files: Vec<FileMount>,
    /// Size of `/dev/shm` in bytes; absent means Docker's 64 MiB.
    pub shm_bytes: Option<u64>,
    /// Limits enforced by cgroups.
    pub limits: Limits,
    /// Capabilities beyond Docker's default set, with or without `CAP_`; `ALL` means all that the daemon has.
    pub capabilities_add: Vec<String>,
    /// Capabilities taken from it; `ALL` means all.
    pub capabilities_drop: Vec<String>,
    /// Every capability and device, and no masked path.
    pub privileged: bool,
    /// Whether processes can gain privileges by execve.
    pub no_new_privileges: bool,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Limits of the processes.
    pub ulimits: Vec<Ulimit>,
    /// Adjustment of the out-of-memory score, -1000 to 1000.
    pub oom_score_adj: i64,
    /// Whether a small init is process 1, forwards signals and reaps orphans.
    pub init: bool,
    /// The json-file log; its directory is made where missing. It outlives the container.
    pub log_path: PathBuf,
    /// Signal that asks the container to end, by name or number; kept for whoever stops it.
    pub stop_signal: String,
}

/// An overlay of directories.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// The image's layers, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// What the container writes. Made where missing, never removed here.
    pub upper: PathBuf,
    /// Overlayfs' own directory, on the same file system as `upper`. Made where missing, never removed here.
    pub work: PathBuf,
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BindMount {
    /// What kind.
    pub kind: MountKind,
    /// The host's path; unused for tmpfs.
    pub source: PathBuf,
    /// Absolute path in the container, made where missing.
    pub target: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Further options of mount(8): `rprivate`, `noexec`, `size=1048576`, `mode=1777`.
    pub options: Vec<String>,
}

/// Kinds of mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    #[default]
    Bind,
    /// Memory.
    Tmpfs,
}

/// A file whose content the daemon gives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileMount {
    /// Absolute path in the container.
    pub target: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether the container cannot write it.
    pub read_only: bool,
}

/// Limits enforced by cgroups; absent means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes. Swap is limited to as much again where the kernel counts it, as Docker does.
    pub memory_bytes: Option<u64>,
    /// Memory in bytes that is left to it under pressure.
    pub memory_reservation_bytes: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Relative share of CPU time (1024 is ordinary).
    pub cpu_shares: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}
