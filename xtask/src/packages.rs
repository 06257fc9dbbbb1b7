//! What must be on the machine, and how it gets there: Debian and Ubuntu packages, named before they are installed.

use crate::steps;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// A program and the Debian package that has it.
pub(crate) struct Needed {
    /// What is looked for: a program on PATH, or a file where it starts with a slash.
    pub program: &'static str,
    /// The package that has it.
    pub package: &'static str,
}

/// What building needs.
pub(crate) const BUILD: &[Needed] = &[
    Needed { program: "cc", package: "gcc" },
    Needed { program: "/usr/include/linux/bpf.h", package: "linux-libc-dev" },
    Needed { program: "clang", package: "clang" },
];

/// What the lab needs: the image it makes, and a docker client to drive it with.
pub(crate) const LAB: &[Needed] = &[
    Needed { program: "/bin/busybox", package: "busybox-static" },
    Needed { program: "docker", package: "docker.io" },
    Needed { program: "curl", package: "curl" },
    Needed { program: "ip", package: "iproute2" },
    Needed { program: "nsenter", package: "util-linux" },
];

/// What the tests need beyond that.
pub(crate) const TEST: &[Needed] = &[
    Needed { program: "nft", package: "nftables" },
    Needed { program: "bridge", package: "iproute2" },
    Needed { program: "ping", package: "iputils-ping" },
    Needed { program: "skopeo", package: "skopeo" },
    Needed { program: "docker-registry", package: "docker-registry" },
    Needed { program: "python3", package: "python3" },
];

/// Installs what is missing, after naming it. Fails with the command to run where it may not.
pub(crate) fn ensure(groups: &[&[Needed]]) -> anyhow::Result<()> {
    let mut missing: Vec<&str> =
        groups.iter().flat_map(|g| g.iter()).filter(|n| !present(n)).map(|n| n.package).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    println!("Missing system packages: {list}");
    if !is_root() {
        bail!(
            "not root, so they cannot be installed from here. Run: sudo apt-get install --no-install-recommends {list}"
        );
    }
    if steps::on_path("apt-get").is_none() {
        bail!("this system has no apt-get. Install what provides them by hand: {list}");
    }
    println!("Installing them with apt-get (without recommended packages).");
    let quiet = ["-qq", "-o=Dpkg::Use-Pty=0"];
    steps::run(Command::new("apt-get").args(quiet).arg("update")).context("refreshing the package lists")?;
    let mut install = Command::new("apt-get");
    install.args(quiet).args(["install", "-y", "--no-install-recommends"]).args(&missing);
    // The docker package would start its own engine; only its client is used here.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    steps::run(&mut install)?;
    match groups.iter().flat_map(|g| g.iter()).find(|n| !present(n)) {
        Some(n) => bail!("package {} was installed, but {} is still not there", n.package, n.program),
        None => Ok(()),
    }
}

/// Whether this process may do everything (the lab makes namespaces, mounts and BPF programs).
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0")))
}

/// Makes sure that `cargo nextest` runs; builds it from crates.io where it is missing.
pub(crate) fn ensure_nextest() -> anyhow::Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|h| Path::new(&h).join(".cargo")));
    let installed = home.is_some_and(|h| h.join("bin/cargo-nextest").is_file());
    if installed || steps::on_path("cargo-nextest").is_some() {
        return Ok(());
    }
    println!("Missing: cargo-nextest (each test runs in a process of its own). Building it from crates.io.");
    steps::cargo(&["install", "--locked", "cargo-nextest"])
}

fn present(needed: &Needed) -> bool {
    if needed.program.starts_with('/') {
        Path::new(needed.program).exists()
    } else {
        steps::on_path(needed.program).is_some()
    }
}
