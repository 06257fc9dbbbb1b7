//! The hosts' cgroups: how every process of a host is found, whoever started it, and ended.
//!
//! The daemon is put into one cgroup of the unified hierarchy (or, without one, of every other); its children inherit
//! that. Containers are moved by their runtime into cgroups below the same parent.

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long killed processes may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    unified: bool,
}

/// Every mounted hierarchy, from the text of `/proc/self/mounts`.
fn parse(mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ');
        let (mount, kind) = (fields.nth(1)?, fields.next()?);
        matches!(kind, "cgroup" | "cgroup2")
            .then(|| Hierarchy { mount: mount.into(), unified: kind == "cgroup2" })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

fn hierarchies() -> anyhow::Result<Vec<Hierarchy>> {
    let found = parse(&fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?);
    if found.is_empty() {
        bail!("no cgroup file system is mounted");
    }
    Ok(found)
}

/// Directories of this cgroup that exist.
fn directories(cgroup: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(hierarchies()?.into_iter().map(|h| h.mount.join(cgroup)).filter(|d| d.is_dir()).collect())
}

/// Makes the cgroup and moves a process with all its threads into it.
pub(crate) fn join(cgroup: &Path, pid: u32) -> anyhow::Result<()> {
    let all = hierarchies()?;
    let unified: Vec<_> = all.iter().filter(|h| h.unified).cloned().collect();
    for hierarchy in if unified.is_empty() { all } else { unified } {
        let directory = hierarchy.mount.join(cgroup);
        let enter = || {
            fs::create_dir_all(&directory)
                .and_then(|()| fs::write(directory.join("cgroup.procs"), pid.to_string()))
        };
        // The end of another lab may just take the parent away that both have.
        let gone = |result: &std::io::Result<()>| matches!(result, Err(e) if e.kind() == ErrorKind::NotFound);
        let mut result = enter();
        for _ in 0..10 {
            if !gone(&result) {
                break;
            }
            result = enter();
        }
        result.with_context(|| format!("cannot put a process into {}", directory.display()))?;
    }
    Ok(())
}

/// This directory and all below it, deepest first.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.extend(tree(&entry.path()));
    }
    found.push(directory.to_owned());
    found
}

/// Processes of the cgroup and those below it, in any hierarchy.
pub(crate) fn processes(cgroup: &Path) -> anyhow::Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for directory in directories(cgroup)?.iter().flat_map(|d| tree(d)) {
        // It may go while it is looked at.
        let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    Ok(found)
}

/// Ends every process of the cgroup and those below it at once, and waits until they are gone.
pub(crate) fn kill_all(cgroup: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE;
    loop {
        for directory in directories(cgroup)? {
            thaw(&directory);
            // The kernel ends the whole tree in one step where it can; where not, processes are ended one by one.
            let _ = fs::write(directory.join("cgroup.kill"), "1");
        }
        let left = processes(cgroup)?;
        if left.is_empty() {
            return Ok(());
        }
        for pid in &left {
            match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => bail!("cannot end process {pid}: {errno}"),
            }
        }
        if Instant::now() > deadline {
            bail!("processes {left:?} of {} do not end", cgroup.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Frozen processes of a v1 hierarchy cannot die.
fn thaw(directory: &Path) {
    for directory in tree(directory) {
        let file = directory.join("freezer.state");
        if file.exists() {
            let _ = fs::write(file, "THAWED");
        }
    }
}

/// Removes the cgroup and those below it, in every hierarchy. Processes must be gone.
pub(crate) fn remove(cgroup: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE;
    for directory in directories(cgroup)?.iter().flat_map(|d| tree(d)) {
        loop {
            match fs::remove_dir(&directory) {
                Ok(()) => break,
                Err(e) if e.kind() == ErrorKind::NotFound => break,
                // A process that has just ended is counted for a moment longer.
                Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(e) => return Err(e).with_context(|| format!("cannot remove {}", directory.display())),
            }
        }
    }
    Ok(())
}

/// Removes a cgroup that is empty, and leaves one that is not.
pub(crate) fn remove_if_empty(cgroup: &Path) -> anyhow::Result<()> {
    for directory in directories(cgroup)? {
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_the_mounts() {
        let mounts = "proc /proc proc rw 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = parse(mounts);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Hierarchy { mount: "/sys/fs/cgroup/unified".into(), unified: true });
    }
}
