//! The daemon and its machine.

use ipnet::IpNet;
use shoal_model::NodeId;
use shoal_model::Timestamp;
use shoal_model::spec::Labels;

/// What does not change while the daemon runs, and a few counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SystemFacts {
    /// The daemon's own id (`ABCD:…`), not the node's id in a swarm.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// Version of the program, `28.2.2`-like; shown as `ServerVersion` and in the `Server` header.
    pub version: String,
    /// Source revision the program was built from.
    pub git_commit: String,
    /// When it was built, RFC 3339; empty if unknown.
    pub build_time: String,
    /// The compiler's version (shown where Docker shows Go's).
    pub compiler: String,
    /// `6.1.0-56-amd64`
    pub kernel_version: String,
    /// `Debian GNU/Linux 12 (bookworm)`
    pub operating_system: String,
    /// `12`
    pub os_version: String,
    /// Kernel's name of the processor, `x86_64`.
    pub architecture: String,
    /// CPUs.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Labels given to the daemon.
    pub labels: Labels,
    /// `--data-root`
    pub data_root: String,
    /// Storage driver, `overlay2`.
    pub storage_driver: String,
    /// Its status as pairs (`Backing Filesystem`, `extfs`).
    pub storage_status: Vec<(String, String)>,
    /// `1` or `2`.
    pub cgroup_version: u8,
    /// The container runtime's version.
    pub runtime_version: String,
    /// Which engine balances (`ebpf`, `nft`, `ipvs`); shown among the security options' neighbours as a warning-free fact.
    pub balancer: String,
    /// Containers that run.
    pub containers_running: u64,
    /// Containers that are paused.
    pub containers_paused: u64,
    /// Containers that do not run.
    pub containers_stopped: u64,
    /// Images.
    pub images: u64,
    /// Whether IPv4 forwarding is on.
    pub ipv4_forwarding: bool,
    /// Whether the memory controller is usable.
    pub memory_limit: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether CPU quotas are usable.
    pub cpu_quota: bool,
    /// Whether CPU sets are usable.
    pub cpu_set: bool,
    /// Whether the number of processes can be limited.
    pub pids_limit: bool,
    /// Whether the daemon logs at debug level.
    pub debug: bool,
    /// Open file descriptors of the daemon.
    pub file_descriptors: u64,
    /// Running async tasks of the daemon.
    pub async_tasks: u64,
    /// Streams of events being read.
    pub event_listeners: u64,
    /// `--default-addr-pool` given to the daemon.
    pub default_addr_pools: Vec<(IpNet, u8)>,
    /// Registries reached without TLS.
    pub insecure_registries: Vec<String>,
    /// `HTTP_PROXY`
    pub http_proxy: String,
    /// `HTTPS_PROXY`
    pub https_proxy: String,
    /// `NO_PROXY`
    pub no_proxy: String,
    /// Lines that `docker info` prints as warnings, with `WARNING: ` in front.
    pub warnings: Vec<String>,
}

/// This node's part in a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// In no swarm.
    Inactive,
    /// Joining, or waiting to be accepted.
    Pending,
    /// A worker.
    Worker(MemberFacts),
    /// A manager.
    Manager(MemberFacts),
    /// A manager whose data are encrypted and not unlocked.
    Locked,
    /// Its swarm component failed.
    Error(String),
}

/// A member's own view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFacts {
    /// Its id.
    pub node: NodeId,
    /// The address that it is reached at, without port.
    pub addr: String,
    /// The managers that it knows.
    pub managers: Vec<ManagerPeer>,
}

/// A manager as members know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerPeer {
    /// Its id.
    pub node: NodeId,
    /// `address:port`
    pub addr: String,
}

/// What a manager knows of a manager's part in the consensus group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ManagerHealth {
    /// Whether it leads.
    pub leader: bool,
    /// Whether it answers.
    pub reachable: bool,
}

/// Bytes on disk (`docker system df`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// Bytes of all image layers, each counted once.
    pub layers_bytes: u64,
    /// Bytes written by each container, by its id.
    pub container_bytes: Vec<(String, u64)>,
    /// When it was measured.
    pub at: Timestamp,
}
