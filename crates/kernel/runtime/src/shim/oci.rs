//! The OCI runtime configuration of a container, with Docker's defaults (moby `daemon/pkg/oci/defaults.go`).

use super::user::Identity;
use super::{capabilities, devices};
use crate::cgroup;
use crate::failure::Failure;
use crate::spec::{BindMount, ContainerSpec, FileMount, MountKind};
use serde_json::{Value, json};
use shoal_model::spec::Ulimit;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Docker's `/dev/shm`, 64 MiB.
const DEFAULT_SHM_BYTES: u64 = 64 * 1024 * 1024;
/// Docker's search path for containers whose image sets none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Paths that tell or change what is the host's.
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What was found out about a container before its configuration is written.
pub(super) struct Facts<'a> {
    pub(super) spec: &'a ContainerSpec,
    pub(super) identity: &'a Identity,
    pub(super) rootfs: &'a Path,
    pub(super) cgroup: &'a str,
    /// Where the generated files are, in the order of the specification.
    pub(super) files: &'a [PathBuf],
}

/// The whole `config.json`.
pub(super) fn config(facts: &Facts<'_>) -> Result<Value, Failure> {
    let spec = facts.spec;
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": process(facts)?,
        "root": { "path": facts.rootfs, "readonly": spec.read_only },
        "hostname": spec.hostname,
        "mounts": mounts(facts)?,
        "linux": linux(facts)?,
    });
    if !spec.domainname.is_empty() {
        config["domainname"] = json!(spec.domainname);
    }
    Ok(config)
}

fn process(facts: &Facts<'_>) -> Result<Value, Failure> {
    let spec = facts.spec;
    let bounding = if spec.privileged {
        capabilities::all().collect()
    } else {
        capabilities::chosen(&spec.capabilities_add, &spec.capabilities_drop)?
    };
    Ok(json!({
        "terminal": spec.terminal,
        "consoleSize": console_size(spec.terminal_size),
        "user": user(facts.identity),
        "args": spec.args,
        "env": environment(&spec.env, spec, &facts.identity.home),
        "cwd": if spec.cwd.is_empty() { "/" } else { &spec.cwd },
        "capabilities": capability_sets(&bounding, facts.identity.uid),
        "rlimits": spec.ulimits.iter().map(rlimit).collect::<Result<Vec<_>, _>>()?,
        "noNewPrivileges": spec.no_new_privileges,
        "oomScoreAdj": spec.oom_score_adj,
    }))
}

/// The user of a process.
pub(super) fn user(identity: &Identity) -> Value {
    json!({ "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups, "umask": 0o022 })
}

/// A terminal's first size, if one is given.
pub(super) fn console_size(size: Option<(u16, u16)>) -> Value {
    size.map_or(Value::Null, |(rows, columns)| json!({ "height": rows, "width": columns }))
}

/// The sets for a process with this bounding set: as execve gives them to root and to others.
pub(super) fn capability_sets(bounding: &BTreeSet<String>, uid: u32) -> Value {
    let empty = BTreeSet::new();
    let held = if uid == 0 { bounding } else { &empty };
    json!({ "bounding": bounding, "effective": held, "permitted": held, "inheritable": [], "ambient": [] })
}

/// The environment with what Docker adds where it is missing.
pub(super) fn environment(given: &[String], spec: &ContainerSpec, home: &str) -> Vec<String> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let is_set = |wanted: &str| given.iter().any(|e| key(e) == wanted);
    let mut environment = Vec::new();
    let mut default = |key: &str, entry: String| {
        if !is_set(key) {
            environment.push(entry);
        }
    };
    default("PATH", DEFAULT_PATH.to_owned());
    default("HOSTNAME", format!("HOSTNAME={}", spec.hostname));
    if spec.terminal {
        default("TERM", "TERM=xterm".to_owned());
    }
    default("HOME", format!("HOME={home}"));
    for entry in given.iter().filter(|e| !e.starts_with('=') && e.contains('=')) {
        // The last value counts, at the first one's place: getenv would find the first.
        match environment.iter_mut().find(|e| key(e) == key(entry)) {
            Some(earlier) => earlier.clone_from(entry),
            None => environment.push(entry.clone()),
        }
    }
    environment
}

fn rlimit(limit: &Ulimit) -> Result<Value, Failure> {
    let known = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    if !known.contains(&limit.name.as_str()) {
        return Err(Failure::invalid(format!("invalid ulimit type: {}", limit.name)));
    }
    // -1 stands for no limit, which is the greatest number.
    let value = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    let (soft, hard) = (value(limit.soft), value(limit.hard));
    if soft > hard {
        return Err(Failure::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            limit.soft, limit.hard
        )));
    }
    Ok(json!({ "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()), "soft": soft, "hard": hard }))
}

fn mounts(facts: &Facts<'_>) -> Result<Vec<Value>, Failure> {
    let spec = facts.spec;
    let mut asked: Vec<(&str, Value)> = Vec::new();
    for mount in &spec.mounts {
        asked.push((&mount.target, bind_mount(mount)?));
    }
    for (file, source) in spec.files.iter().zip(facts.files) {
        asked.push((&file.target, file_mount(file, source)?));
    }
    // What is mounted below another mount comes after it.
    asked.sort_by_key(|(target, _)| Path::new(target).components().count());
    let is_replaced = |target: &str| asked.iter().any(|(t, _)| Path::new(t) == Path::new(target));
    let system = system_mounts(spec);
    let mut all: Vec<Value> =
        system.into_iter().filter(|(target, _)| !is_replaced(target)).map(|(_, mount)| mount).collect();
    all.extend(asked.into_iter().map(|(_, mount)| mount));
    Ok(all)
}

fn system_mounts(spec: &ContainerSpec) -> Vec<(&'static str, Value)> {
    let mount = |target: &'static str, kind: &str, source: &str, options: &[&str]| {
        (target, json!({ "destination": target, "type": kind, "source": source, "options": options }))
    };
    let access = if spec.privileged { "rw" } else { "ro" };
    let shm = format!("size={}", spec.shm_bytes.unwrap_or(DEFAULT_SHM_BYTES));
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ]
}

fn bind_mount(mount: &BindMount) -> Result<Value, Failure> {
    check_target(&mount.target)?;
    let mut options: Vec<String> = match mount.kind {
        MountKind::Bind => vec!["rbind".into()],
        MountKind::Tmpfs => vec!["nosuid".into(), "nodev".into(), "noexec".into()],
    };
    options.push(if mount.read_only { "ro" } else { "rw" }.into());
    options.extend(mount.options.iter().cloned());
    let source = match mount.kind {
        MountKind::Bind if !mount.source.exists() => {
            return Err(Failure::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source.display()
            )));
        }
        MountKind::Bind => mount.source.clone(),
        MountKind::Tmpfs => "tmpfs".into(),
    };
    let kind = if mount.kind == MountKind::Bind { "bind" } else { "tmpfs" };
    Ok(json!({ "destination": mount.target, "type": kind, "source": source, "options": options }))
}

fn file_mount(file: &FileMount, source: &Path) -> Result<Value, Failure> {
    check_target(&file.target)?;
    let access = if file.read_only { "ro" } else { "rw" };
    let options = ["rbind", access, "nosuid", "nodev", "noexec"];
    Ok(json!({ "destination": file.target, "type": "bind", "source": source, "options": options }))
}

fn check_target(target: &str) -> Result<(), Failure> {
    if !target.starts_with('/') {
        return Err(Failure::invalid(format!(
            "invalid mount target, must be an absolute path in the container: {target}"
        )));
    }
    if Path::new(target) == Path::new("/") {
        return Err(Failure::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(())
}

fn linux(facts: &Facts<'_>) -> Result<Value, Failure> {
    let spec = facts.spec;
    let mut namespaces: Vec<Value> =
        ["pid", "mount", "ipc", "uts", "cgroup"].iter().map(|kind| json!({ "type": kind })).collect();
    if let Some(path) = &spec.network_namespace {
        if !path.exists() {
            return Err(Failure::invalid(format!("no network namespace at {}", path.display())));
        }
        namespaces.push(json!({ "type": "network", "path": path }));
    }
    let masked: &[&str] = if spec.privileged { &[] } else { &MASKED_PATHS };
    let mut read_only: Vec<String> = Vec::new();
    if !spec.privileged {
        read_only.extend(READ_ONLY_PATHS.iter().map(ToString::to_string));
        // libcontainer mounts the v1 hierarchies writable, and their root here is the container's own cgroup: it could
        // lift its limits. The directory that holds them comes first, since making it read-only covers nothing below.
        read_only.push("/sys/fs/cgroup".to_owned());
        read_only.extend(cgroup::hierarchies().iter().map(|name| format!("/sys/fs/cgroup/{name}")));
    }
    let devices = if spec.privileged { devices::of_host() } else { Vec::new() };
    Ok(json!({
        "namespaces": namespaces,
        "devices": devices,
        "cgroupsPath": facts.cgroup,
        "resources": resources(spec),
        "sysctl": spec.sysctls,
        "maskedPaths": masked,
        "readonlyPaths": read_only,
    }))
}

fn resources(spec: &ContainerSpec) -> Value {
    let limits = &spec.limits;
    let mut resources = json!({ "devices": [{ "allow": spec.privileged, "access": "rwm" }] });
    if limits.memory_bytes.is_some() || limits.memory_reservation_bytes.is_some() {
        let mut memory = json!({});
        if let Some(bytes) = limits.memory_bytes {
            memory["limit"] = json!(bytes);
            if cgroup::counts_swap() {
                memory["swap"] = json!(bytes.saturating_mul(2));
            }
        }
        if let Some(bytes) = limits.memory_reservation_bytes {
            memory["reservation"] = json!(bytes);
        }
        resources["memory"] = memory;
    }
    if limits.nano_cpus.is_some() || limits.cpu_shares.is_some() {
        let mut cpu = json!({});
        if let Some(nano) = limits.nano_cpus {
            cpu["quota"] = json!(cgroup::quota_us(nano));
            cpu["period"] = json!(cgroup::CPU_PERIOD_US);
        }
        if let Some(shares) = limits.cpu_shares {
            cpu["shares"] = json!(shares);
        }
        resources["cpu"] = cpu;
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({ "limit": pids });
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec { hostname: "box".into(), ..ContainerSpec::default() }
    }

    #[test]
    fn the_environment_gets_what_is_missing_only() {
        let given = [
            "A=0".to_owned(),
            "A=1".into(),
            "HOME=/elsewhere".into(),
            "=bad".into(),
            "bad".into(),
            "E=".into(),
        ];
        let found = environment(&given, &spec(), "/root");
        assert_eq!(found, [DEFAULT_PATH, "HOSTNAME=box", "A=1", "HOME=/elsewhere", "E="]);
    }

    #[test]
    fn a_mount_of_the_users_replaces_the_systems_and_deeper_ones_come_later() {
        let mount = |target: &str| BindMount {
            kind: MountKind::Tmpfs,
            target: target.into(),
            ..BindMount::default()
        };
        let spec = ContainerSpec { mounts: vec![mount("/a/b/c"), mount("/dev/shm"), mount("/a")], ..spec() };
        let identity = Identity { uid: 0, gid: 0, groups: vec![0], home: "/".into() };
        let facts =
            Facts { spec: &spec, identity: &identity, rootfs: Path::new("/"), cgroup: "/x", files: &[] };
        let all = mounts(&facts).unwrap();
        let targets: Vec<&str> = all.iter().filter_map(|m| m["destination"].as_str()).collect();
        assert_eq!(
            targets,
            [
                "/proc",
                "/dev",
                "/dev/pts",
                "/sys",
                "/sys/fs/cgroup",
                "/dev/mqueue",
                "/a",
                "/dev/shm",
                "/a/b/c"
            ]
        );
    }

    #[test]
    fn only_root_holds_its_capabilities() {
        let bounding = BTreeSet::from(["CAP_KILL".to_owned()]);
        assert_eq!(capability_sets(&bounding, 0)["effective"], json!(["CAP_KILL"]));
        assert_eq!(capability_sets(&bounding, 1000)["effective"], json!([]));
    }

    #[test]
    fn ulimits_are_checked() {
        let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        let good = rlimit(&limit("nofile", 10, -1)).unwrap();
        assert_eq!(good, json!({ "type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX }));
        assert_eq!(rlimit(&limit("files", 1, 1)).unwrap_err().message, "invalid ulimit type: files");
        assert!(rlimit(&limit("nofile", 2, 1)).is_err());
    }
}
