//! dockerd's own flags that Shoal has no use for: accepted with a warning, so that scripts that start a dockerd can
//! start Shoal.

/// Flags with a value.
const WITH_VALUE: &[&str] = &[
    "--add-runtime",
    "--authorization-plugin",
    "--bip",
    "--bridge",
    "-b",
    "--config-file",
    "--containerd",
    "--containerd-namespace",
    "--default-gateway",
    "--default-ipc-mode",
    "--default-runtime",
    "--default-shm-size",
    "--default-ulimit",
    "--dns-opt",
    "--dns-search",
    "--exec-opt",
    "--feature",
    "--fixed-cidr",
    "--group",
    "-G",
    "--init-path",
    "--ip",
    "--log-driver",
    "--log-opt",
    "--log-format",
    "--max-concurrent-downloads",
    "--max-concurrent-uploads",
    "--max-download-attempts",
    "--mtu",
    "--network-control-plane-mtu",
    "--oom-score-adjust",
    "--registry-mirror",
    "--seccomp-profile",
    "--shutdown-timeout",
    "--storage-driver",
    "-s",
    "--storage-opt",
    "--swarm-default-advertise-addr",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--userland-proxy-path",
    "--userns-remap",
];

/// Flags that are switches, with or without `=true`.
const SWITCHES: &[&str] = &[
    "--debug",
    "-D",
    "--experimental",
    "--icc",
    "--init",
    "--ip-forward",
    "--ip-forward-no-drop",
    "--ip-masq",
    "--ip6tables",
    "--iptables",
    "--ipv6",
    "--live-restore",
    "--no-new-privileges",
    "--raw-logs",
    "--selinux-enabled",
    "--userland-proxy",
];

/// Parts the arguments into those that Shoal knows and those of dockerd's that it ignores.
pub fn part(arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut ignored) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (name, has_value) = match argument.split_once('=') {
            Some((name, _)) => (name, true),
            None => (argument.as_str(), false),
        };
        if SWITCHES.contains(&name) {
            ignored.push(argument);
        } else if WITH_VALUE.contains(&name) {
            let value = if has_value { None } else { arguments.next() };
            ignored.push(value.map_or_else(|| argument.clone(), |value| format!("{argument} {value}")));
        } else {
            kept.push(argument);
        }
    }
    (kept, ignored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerds_flags_are_set_aside_with_their_values() {
        let given = [
            "--iptables=false",
            "-H",
            "unix:///x",
            "--mtu",
            "1400",
            "--bip=10.1.0.1/24",
            "-D",
            "--data-root",
            "/d",
        ];
        let (kept, ignored) = part(given.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(kept, ["-H", "unix:///x", "--data-root", "/d"]);
        assert_eq!(ignored, ["--iptables=false", "--mtu 1400", "--bip=10.1.0.1/24", "-D"]);
    }
}
