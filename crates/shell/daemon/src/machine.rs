//! What this machine is: read once at start, from `/proc`, `/etc` and `uname`.

use crate::config::Config;
use nix::sys::utsname::uname;
use shoal_model::node::{EngineDescription, EnginePlugin, NodeDescription, NodeResources};
use shoal_model::spec::Platform;
use std::fs;
use std::path::Path;

/// The version shown to Docker's clients: the API that Shoal speaks is that of this Docker release.
pub(crate) const ENGINE_VERSION: &str = "28.2.2";

/// Facts about the machine that do not change while the daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The host's name.
    pub(crate) hostname: String,
    /// `6.1.0-56-amd64`
    pub(crate) kernel_version: String,
    /// `x86_64`
    pub(crate) architecture: String,
    /// `Debian GNU/Linux 12 (bookworm)`
    pub(crate) operating_system: String,
    /// `12`
    pub(crate) os_version: String,
    /// CPUs that this process may use.
    pub(crate) cpus: u32,
    /// Bytes of memory.
    pub(crate) memory_bytes: u64,
    /// 1 or 2.
    pub(crate) cgroup_version: u8,
    /// Whether the controllers are there: memory, cpu, cpuset, pids.
    pub(crate) controllers: Controllers,
    /// Name of the file system below the data root.
    pub(crate) backing_filesystem: String,
}

/// Which cgroup controllers are there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Controllers {
    pub(crate) memory: bool,
    pub(crate) cpu: bool,
    pub(crate) cpuset: bool,
    pub(crate) pids: bool,
    pub(crate) swap: bool,
}

impl Machine {
    /// Looks at the machine.
    pub(crate) fn observe(config: &Config) -> std::io::Result<Self> {
        let names = uname()?;
        let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let release_value = |key: &str| {
            let line = release.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
            line.map(|v| v.trim_matches('"').to_owned())
        };
        Ok(Self {
            hostname: text(names.nodename()),
            kernel_version: text(names.release()),
            architecture: text(names.machine()),
            operating_system: release_value("PRETTY_NAME").unwrap_or_else(|| text(names.sysname())),
            os_version: release_value("VERSION_ID").unwrap_or_default(),
            cpus: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory_bytes: memory_bytes(),
            cgroup_version: if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 },
            controllers: controllers(),
            backing_filesystem: filesystem_of(&config.data_root),
        })
    }

    /// What the node tells the managers of itself.
    pub(crate) fn describe(&self, config: &Config, routes: Vec<ipnet::IpNet>) -> NodeDescription {
        let plugin = |kind: &str, name: &str| EnginePlugin { kind: kind.to_owned(), name: name.to_owned() };
        NodeDescription {
            hostname: self.hostname.clone(),
            platform: Platform { architecture: self.architecture.clone(), os: "linux".to_owned() },
            resources: NodeResources {
                nano_cpus: i64::from(self.cpus) * 1_000_000_000,
                memory_bytes: i64::try_from(self.memory_bytes).unwrap_or(i64::MAX),
            },
            engine: EngineDescription {
                engine_version: ENGINE_VERSION.to_owned(),
                labels: config.labels.clone(),
                plugins: vec![
                    plugin("Log", "json-file"),
                    plugin("Network", "bridge"),
                    plugin("Network", "host"),
                    plugin("Network", "null"),
                    plugin("Network", "overlay"),
                    plugin("Volume", "local"),
                ],
            },
            routes,
        }
    }
}

fn memory_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = info
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn controllers() -> Controllers {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let v1 = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let has = |name: &str| {
        v2.split_whitespace().any(|c| c == name)
            || (Path::new("/sys/fs/cgroup").join(name).is_dir() && v1.contains(name))
    };
    Controllers {
        memory: has("memory"),
        cpu: has("cpu"),
        cpuset: has("cpuset"),
        pids: has("pids"),
        swap: Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists() || !v2.is_empty(),
    }
}

/// The type of the file system that holds a path, as `/proc/mounts` names it.
fn filesystem_of(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let entries = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = entries.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.len());
    holding.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
