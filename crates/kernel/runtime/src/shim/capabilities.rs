//! Which capabilities a container has.

use crate::cgroup;
use crate::failure::Failure;
use std::collections::BTreeSet;

/// The default set of Docker (moby `daemon/pkg/oci/caps/defaults.go`).
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Every capability by its number (linux/capability.h, Linux 6.x).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The container's bounding set: the default, `add`ed to and `drop`ped from.
pub(super) fn chosen(add: &[String], drop: &[String]) -> Result<BTreeSet<String>, Failure> {
    let mut set: BTreeSet<String> = DEFAULT.iter().map(ToString::to_string).collect();
    if cgroup::is_unified() {
        // Devices are fenced by the v1 devices cgroup; without it a container must not be able to make any.
        set.remove("CAP_MKNOD");
    }
    let (drop, drop_all) = names("CapDrop", drop)?;
    let (add, add_all) = names("CapAdd", add)?;
    if drop_all {
        set.clear();
    }
    set.retain(|name| !drop.contains(name));
    if add_all {
        set.extend(all().filter(|name| !drop.contains(name)));
    }
    set.extend(add);
    Ok(set)
}

/// Every capability that this process can hand on.
pub(super) fn all() -> impl Iterator<Item = String> {
    let bounding = bounding_set();
    ALL.iter()
        .enumerate()
        .filter(move |(bit, _)| bounding >> bit & 1 == 1)
        .map(|(_, name)| (*name).to_owned())
}

fn bounding_set() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapBnd:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default()
}

fn names(field: &str, given: &[String]) -> Result<(BTreeSet<String>, bool), Failure> {
    let (mut set, mut has_all) = (BTreeSet::new(), false);
    for name in given {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" || upper == "CAP_ALL" {
            has_all = true;
            continue;
        }
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if !ALL.contains(&full.as_str()) {
            return Err(Failure::invalid(format!("invalid {field}: unknown capability: \"{full}\"")));
        }
        set.insert(full);
    }
    Ok((set, has_all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn capabilities_are_added_and_dropped_in_any_spelling() {
        let set = chosen(&words(&["net_admin"]), &words(&["CAP_NET_RAW", "chown"])).unwrap();
        assert!(set.contains("CAP_NET_ADMIN") && set.contains("CAP_KILL"));
        assert!(!set.contains("CAP_NET_RAW") && !set.contains("CAP_CHOWN"));
    }

    #[test]
    fn all_can_be_dropped_with_exceptions() {
        let set = chosen(&words(&["KILL"]), &words(&["ALL"])).unwrap();
        assert_eq!(set.into_iter().collect::<Vec<_>>(), ["CAP_KILL"]);
    }

    #[test]
    fn unknown_capabilities_are_refused_in_dockers_words() {
        let error = chosen(&words(&["fly"]), &[]).unwrap_err();
        assert_eq!(error.message, "invalid CapAdd: unknown capability: \"CAP_FLY\"");
    }
}
