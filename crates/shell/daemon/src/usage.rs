//! What a container uses and runs, read from cgroups and `/proc`.

use crate::backend::internal;
use crate::engine::Engine;
use crate::entropy;
use shoal_wire::ApiError;
use shoal_wire::container::{ContainerUsage, InterfaceUsage, ProcessTable};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The rows of `ps` that belong to a container.
pub(crate) fn process_table(pids: &[u32], ps_args: &str) -> Result<ProcessTable, ApiError> {
    let arguments: Vec<&str> =
        if ps_args.trim().is_empty() { vec!["-ef"] } else { ps_args.split_whitespace().collect() };
    let output = Command::new("ps").args(&arguments).output().map_err(|e| internal(format!("ps: {e}")))?;
    if !output.status.success() {
        return Err(ApiError::bad_request(format!("ps: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let pid_column = titles.iter().position(|t| t == "PID");
    let pid_column =
        pid_column.ok_or_else(|| ApiError::bad_request("Couldn't find PID field in ps output"))?;
    let row = |line: &str| split_columns(line, titles.len());
    let mine = |row: &Vec<String>| {
        row.get(pid_column).and_then(|p| p.parse().ok()).is_some_and(|p| pids.contains(&p))
    };
    Ok(ProcessTable { rows: lines.map(row).filter(mine).collect(), titles })
}

/// Splits at white space; the last column keeps its blanks.
fn split_columns(line: &str, columns: usize) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line.trim_start();
    while fields.len() + 1 < columns {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        fields.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    fields.push(rest.trim_end().to_owned());
    fields
}

/// One reading of a container's counters.
pub(crate) fn read(engine: &Engine, id: &str, pids: &[u32]) -> Result<ContainerUsage, ApiError> {
    let Some(first) = pids.first() else {
        return Err(ApiError::conflict(format!("container {id} is not running")));
    };
    let groups = Cgroups::of(*first);
    let number = |controller: &str, files: &[&str]| {
        files.iter().find_map(|f| groups.number(controller, f)).unwrap_or(0)
    };
    let statistic = |controller: &str, file: &str, key: &str| groups.statistic(controller, file, key);
    let v2_cpu = statistic("cpu", "cpu.stat", "usage_usec").map(|n| n * 1000);
    let user = statistic("cpu", "cpu.stat", "user_usec").map(|n| n * 1000);
    let kernel = statistic("cpu", "cpu.stat", "system_usec").map(|n| n * 1000);
    let limit = number("memory", &["memory.max", "memory.limit_in_bytes"]);
    Ok(ContainerUsage {
        at: entropy::now(),
        cpu_nanos: v2_cpu.unwrap_or_else(|| number("cpuacct", &["cpuacct.usage"])),
        cpu_user_nanos: user.unwrap_or_else(|| number("cpuacct", &["cpuacct.usage_user"])),
        cpu_kernel_nanos: kernel.unwrap_or_else(|| number("cpuacct", &["cpuacct.usage_sys"])),
        system_cpu_nanos: system_cpu_nanos(),
        cpus: engine.machine.cpus,
        memory_bytes: number("memory", &["memory.current", "memory.usage_in_bytes"]),
        memory_limit_bytes: if limit == 0 || limit > engine.machine.memory_bytes {
            engine.machine.memory_bytes
        } else {
            limit
        },
        memory_inactive_file_bytes: statistic("memory", "memory.stat", "total_inactive_file")
            .or_else(|| statistic("memory", "memory.stat", "inactive_file"))
            .unwrap_or(0),
        pids: number("pids", &["pids.current"]).max(pids.len() as u64),
        pids_limit: number("pids", &["pids.max"]),
        block_read_bytes: 0,
        block_write_bytes: 0,
        interfaces: interfaces(*first),
    })
}

/// Where a process's cgroups are, by controller.
struct Cgroups(BTreeMap<String, PathBuf>);

impl Cgroups {
    fn of(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut paths = BTreeMap::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            for controller in controllers.split(',') {
                let mount = Path::new("/sys/fs/cgroup").join(controller);
                paths.insert(controller.to_owned(), mount.join(path.trim_start_matches('/')));
            }
        }
        Self(paths)
    }

    fn text(&self, controller: &str, file: &str) -> Option<String> {
        let directory = self.0.get(controller).or_else(|| self.0.get(""))?;
        fs::read_to_string(directory.join(file)).ok()
    }

    fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.text(controller, file)?.trim().parse().ok()
    }

    fn statistic(&self, controller: &str, file: &str, key: &str) -> Option<u64> {
        let text = self.text(controller, file)?;
        text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    }
}

/// CPU time of the whole machine. `/proc/stat` counts hundredths of a second.
fn system_cpu_nanos() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: u64 = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    ticks * (NANOS_PER_SECOND / 100)
}

fn interfaces(pid: u32) -> BTreeMap<String, InterfaceUsage> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let parse = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let n: Vec<u64> = counters.split_whitespace().filter_map(|c| c.parse().ok()).collect();
        let at = |i: usize| n.get(i).copied().unwrap_or(0);
        let usage = InterfaceUsage {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        (name.trim() != "lo").then(|| (name.trim().to_owned(), usage))
    };
    text.lines().skip(2).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_keeps_its_blanks() {
        assert_eq!(split_columns("root  1 sh -c 'a b'", 3), ["root", "1", "sh -c 'a b'"]);
        assert_eq!(split_columns("a", 3), ["a", "", ""]);
    }
}
