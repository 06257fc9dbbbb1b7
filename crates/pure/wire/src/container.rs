//! Containers.

use ipnet::IpNet;
use shoal_model::spec::{Labels, Mount, PortConfig, Ulimit};
use shoal_model::{Mac, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub use shoal_model::assignment::{ContainerState, Health};

/// What the daemon knows of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal characters.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its state.
    pub state: ContainerState,
    /// When it last started; never if it has not.
    pub started_at: Timestamp,
    /// Its health, where that is probed.
    pub health: Option<Health>,
    /// What went wrong when it was last started; empty if nothing.
    pub error: String,
    /// The image as asked for (`whoami:latest`).
    pub image: String,
    /// `sha256:…` of the image.
    pub image_id: String,
    /// The entrypoint and command as they run: program first.
    pub command: Vec<String>,
    /// The configured entrypoint.
    pub entrypoint: Vec<String>,
    /// The configured command.
    pub cmd: Vec<String>,
    /// `KEY=value` pairs.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// `user[:group]`
    pub user: String,
    /// Its hostname.
    pub hostname: String,
    /// Its labels.
    pub labels: Labels,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether standard input stays open.
    pub open_stdin: bool,
    /// Signal that asks it to end; empty means SIGTERM.
    pub stop_signal: String,
    /// Exposed and host-published ports.
    pub ports: Vec<PortConfig>,
    /// Its mounts as asked for.
    pub mounts: Vec<Mount>,
    /// Its networks by name.
    pub networks: BTreeMap<String, ContainerNetwork>,
    /// Path of its network namespace.
    pub sandbox_key: String,
    /// Path of its log file.
    pub log_path: String,
    /// Path of its `resolv.conf` on the host.
    pub resolv_conf_path: String,
    /// Path of its `hosts` on the host.
    pub hosts_path: String,
    /// Path of its `hostname` on the host.
    pub hostname_path: String,
    /// Bounds on what it uses.
    pub limits: ContainerLimits,
    /// Bytes that it has written, if measured.
    pub size_rw: Option<u64>,
    /// Bytes of its whole root file system, if measured.
    pub size_root_fs: Option<u64>,
    /// Exec sessions that still run.
    pub exec_ids: Vec<String>,
    /// Times that it was restarted.
    pub restart_count: u64,
}

/// Bounds on what a container uses; 0 means none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerLimits {
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Processes and threads.
    pub pids: i64,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// Whether an init is process 1.
    pub init: Option<bool>,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Adjustment of the out-of-memory score.
    pub oom_score_adj: i64,
}

/// A container's endpoint on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// The network's id.
    pub network_id: String,
    /// 64 hexadecimal characters; see [`crate::network::endpoint_id`].
    pub endpoint_id: String,
    /// Its addresses with the network's prefix lengths, one of each of the network's families.
    pub addresses: Vec<IpNet>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// The gateway, where the default route leads through this network.
    pub gateway: Option<IpAddr>,
    /// Further names on this network.
    pub aliases: Vec<String>,
}

/// How a container is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopOptions {
    /// Signal instead of the container's own.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; absent means the container's own, negative means never.
    pub timeout_seconds: Option<i64>,
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes, too.
    pub volumes: bool,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// It does not run (at once, if it does not).
    #[default]
    NotRunning,
    /// Its next end.
    NextExit,
    /// Its removal.
    Removed,
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitOutcome {
    /// Exit status.
    pub status_code: i64,
    /// What went wrong while waiting.
    pub error: Option<String>,
}

/// The processes of a container as `ps` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessTable {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row a process.
    pub rows: Vec<Vec<String>>,
}

/// One reading of a container's counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerUsage {
    /// When it was read.
    pub at: Timestamp,
    /// CPU time used, nanoseconds.
    pub cpu_nanos: u64,
    /// Of it in user space.
    pub cpu_user_nanos: u64,
    /// Of it in the kernel.
    pub cpu_kernel_nanos: u64,
    /// CPU time of the whole machine, nanoseconds (user, nice, system, idle, …).
    pub system_cpu_nanos: u64,
    /// CPUs on line.
    pub cpus: u32,
    /// Bytes of memory in use.
    pub memory_bytes: u64,
    /// Its bound in bytes (the machine's memory where none is set).
    pub memory_limit_bytes: u64,
    /// Of the bytes in use, file cache that is easily given back.
    pub memory_inactive_file_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bound on them; 0 means none.
    pub pids_limit: u64,
    /// Bytes read from block devices.
    pub block_read_bytes: u64,
    /// Bytes written to block devices.
    pub block_write_bytes: u64,
    /// Traffic by interface.
    pub interfaces: BTreeMap<String, InterfaceUsage>,
}

/// Traffic of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterfaceUsage {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Dropped instead of sent.
    pub tx_dropped: u64,
}
