//! A container's cgroups: one directory on a unified (v2) system, one in each hierarchy otherwise.
//!
//! libcontainer makes them and moves the container in; here they are observed, changed, emptied and removed.

use crate::spec::Limits;
use crate::{Error, kill};
use rustix::fs::statfs;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// `cpu.cfs_period_us` that Docker uses for `--cpus`.
pub(crate) const CPU_PERIOD_US: u64 = 100_000;

/// Whether `/sys/fs/cgroup` is the one unified hierarchy.
pub(crate) fn is_unified() -> bool {
    statfs(ROOT).is_ok_and(|found| found.f_type == CGROUP2_MAGIC)
}

/// Whether swap can be limited.
pub(crate) fn counts_swap() -> bool {
    is_unified() || Path::new(ROOT).join("memory/memory.memsw.limit_in_bytes").exists()
}

/// The names of the v1 hierarchies; none on a unified system.
pub(crate) fn hierarchies() -> Vec<String> {
    if is_unified() {
        return Vec::new();
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    // `cpu` is a link to `cpu,cpuacct` on some systems: links would name a hierarchy twice.
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| e.file_name().into_string().ok())
        .collect()
}

/// The cgroup of one container, or the parent of all.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    directories: Vec<PathBuf>,
}

impl Cgroup {
    /// The cgroup with this absolute path.
    pub(crate) fn at(path: &str) -> Self {
        let path = path.trim_start_matches('/');
        let root = Path::new(ROOT);
        let directories = if is_unified() {
            vec![root.join(path)]
        } else {
            hierarchies().iter().map(|name| root.join(name).join(path)).collect()
        };
        Self { directories }
    }

    /// Its directory in a controller's hierarchy, if there is one.
    pub(crate) fn directory(&self, controller: &str) -> Option<PathBuf> {
        let is_of = |path: &Path| {
            let hierarchy = path.strip_prefix(ROOT).ok().and_then(|p| p.components().next());
            hierarchy.is_some_and(|h| h.as_os_str().to_string_lossy().split(',').any(|c| c == controller))
        };
        self.directories.iter().find(|d| (is_unified() || is_of(d)) && d.exists()).cloned()
    }

    /// Ids of all its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found: Vec<u32> = self
            .directories
            .iter()
            .flat_map(|d| fs::read_to_string(d.join("cgroup.procs")))
            .flat_map(|text| text.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// How often the kernel killed a process of it for want of memory.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let count = |file: &str| {
            self.read(file).and_then(|text| {
                text.lines().find_map(|l| l.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok())
            })
        };
        count("memory.oom_control").or_else(|| count("memory.events")).unwrap_or(0)
    }

    /// Whether its processes are frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.read("freezer.state").is_some_and(|s| s.trim() != "THAWED")
            || self.read("cgroup.events").is_some_and(|s| s.lines().any(|l| l == "frozen 1"))
    }

    /// Freezes or thaws its processes and waits until they are.
    pub(crate) fn freeze(&self, frozen: bool, deadline: Instant) -> Result<(), Error> {
        let (v1, v2) = if frozen { ("FROZEN", "1") } else { ("THAWED", "0") };
        let Some(file) = self.file("freezer.state").or_else(|| self.file("cgroup.freeze")) else {
            return Err(Error::Refused(
                "the kernel has no freezer cgroup: containers cannot be paused".into(),
            ));
        };
        let value = if file.ends_with("freezer.state") { v1 } else { v2 };
        loop {
            // A v1 freezer can stay "FREEZING" when a process was just made: it has to be written again.
            write(&file, value)?;
            let settled = self.read("freezer.state").is_none_or(|s| s.trim() == v1)
                && (self.file("freezer.state").is_some() || self.is_frozen() == frozen);
            if settled {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout(format!("the freezer {}", file.display())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Changes the limits that are given.
    pub(crate) fn set_limits(&self, limits: &Limits) -> Result<(), Error> {
        if let Some(bytes) = limits.memory_bytes {
            self.set_memory(bytes)?;
        }
        if let Some(bytes) = limits.memory_reservation_bytes {
            self.set("memory", &[("memory.soft_limit_in_bytes", bytes), ("memory.low", bytes)])?;
        }
        if let Some(nano) = limits.nano_cpus {
            let quota = quota_us(nano);
            if self.file("cpu.max").is_some() {
                self.set_text("cpu", "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
            } else {
                self.set("cpu", &[("cpu.cfs_quota_us", quota)])?;
            }
        }
        if let Some(shares) = limits.cpu_shares {
            self.set("cpu", &[("cpu.shares", shares), ("cpu.weight", weight_of_shares(shares))])?;
        }
        if let Some(pids) = limits.pids {
            self.set("pids", &[("pids.max", pids)])?;
        }
        Ok(())
    }

    fn set_memory(&self, bytes: u64) -> Result<(), Error> {
        let with_swap = bytes.saturating_mul(2);
        let swap = self.file("memory.memsw.limit_in_bytes");
        let is_lower = self
            .read("memory.memsw.limit_in_bytes")
            .and_then(|t| t.trim().parse::<u64>().ok())
            .is_some_and(|now| now < bytes);
        // The kernel never lets the one limit pass the other, so growing starts with swap and shrinking ends with it.
        if let (Some(file), true) = (&swap, is_lower) {
            write(file, &with_swap.to_string())?;
        }
        self.set("memory", &[("memory.limit_in_bytes", bytes), ("memory.max", bytes)])?;
        if let Some(file) = &swap {
            write(file, &with_swap.to_string())?;
        } else if self.file("memory.swap.max").is_some() {
            self.set_text("memory", "memory.swap.max", &bytes.to_string())?;
        }
        Ok(())
    }

    /// Writes the first of the files that exists.
    fn set(&self, controller: &str, candidates: &[(&str, u64)]) -> Result<(), Error> {
        for (name, value) in candidates {
            if self.file(name).is_some() {
                return self.set_text(controller, name, &value.to_string());
            }
        }
        Err(Error::Refused(format!(
            "the kernel has no {controller} cgroup here: the limit cannot be enforced"
        )))
    }

    fn set_text(&self, controller: &str, name: &str, value: &str) -> Result<(), Error> {
        let missing = || Error::Refused(format!("the kernel has no {controller} cgroup here"));
        write(&self.file(name).ok_or_else(missing)?, value)
    }

    /// Kills every process of it and waits until they are gone.
    pub(crate) fn kill_all(&self, deadline: Instant) -> Result<(), Error> {
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return Ok(());
            }
            if self.file("cgroup.kill").is_some() {
                self.set_text("core", "cgroup.kill", "1")?;
            } else {
                for pid in processes {
                    // Asked again once the process is pinned, so that a reused id is never hit.
                    kill::kill_if(pid, || self.processes().contains(&pid));
                }
            }
            // The frozen die only when they thaw.
            if self.is_frozen() {
                self.freeze(false, deadline)?;
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout("the container's last process".into()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Removes it with the cgroups below it. It must be empty of processes.
    pub(crate) fn remove(&self, deadline: Instant) -> Result<(), Error> {
        self.directories.iter().try_for_each(|d| remove_directory(d, deadline))
    }

    /// Removes it if nothing is in it; leaves it otherwise.
    pub(crate) fn remove_if_empty(&self) -> Result<(), Error> {
        for directory in &self.directories {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(e) if is_gone(&e) => {}
                // Cgroups refuse with EBUSY while there is a process or a cgroup below.
                Err(e) if matches!(e.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty) => {}
                Err(source) => return Err(Error::Io { action: "remove", path: directory.clone(), source }),
            }
        }
        Ok(())
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.directories.iter().map(|d| d.join(name)).find(|p| p.exists())
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.file(name)?).ok()
    }
}

/// Microseconds of CPU per [`CPU_PERIOD_US`] for so many billionths of a CPU; the kernel takes no less than 1000.
pub(crate) fn quota_us(nano_cpus: u64) -> u64 {
    (nano_cpus.saturating_mul(CPU_PERIOD_US) / 1_000_000_000).max(1000)
}

/// The v2 weight (1 to 10000) for v1 shares (2 to 262144), as the OCI specification converts them.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn write(file: &Path, value: &str) -> Result<(), Error> {
    fs::write(file, value).map_err(|source| Error::Io { action: "write", path: file.to_owned(), source })
}

fn remove_directory(directory: &Path, deadline: Instant) -> Result<(), Error> {
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove_directory(&entry.path(), deadline)?;
    }
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(e) if is_gone(&e) => return Ok(()),
            // The kernel lets go of a process some moments after it was reaped.
            Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(source) => return Err(Error::Io { action: "remove", path: directory.to_owned(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_a_quota_of_the_period() {
        assert_eq!(quota_us(1_000_000_000), 100_000);
        assert_eq!(quota_us(1_500_000_000), 150_000);
        assert_eq!(quota_us(1), 1000, "the kernel refuses less than a millisecond");
    }

    #[test]
    fn shares_become_a_weight() {
        assert_eq!(weight_of_shares(2), 1);
        assert_eq!(weight_of_shares(1024), 39);
        assert_eq!(weight_of_shares(262_144), 10_000);
    }
}
