//! The directions between crates and the fences around libraries, read from `cargo metadata`.

use crate::steps;
use anyhow::{Context, bail};
use serde::Deserialize;
use std::process::Command;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// A third-party library and the only crates that may use it.
const FENCES: &[(&str, &[&str])] = &[
    ("netlink-packet-route", &["shoal-host"]),
    ("netlink-packet-core", &["shoal-host"]),
    ("netlink-sys", &["shoal-netlink", "shoal-lvs"]),
    ("aya", &["shoal-lvs"]),
    ("libcontainer", &["shoal-runtime"]),
    ("openraft", &["shoal-raft"]),
    ("redb", &["shoal-raft"]),
    ("hyper", &["shoal-api"]),
    ("tonic", &["shoal-peer"]),
    ("oci-client", &["shoal-images"]),
    ("hickory-proto", &["shoal-dns"]),
];

/// The one crate of the kernel layer that the others there may use.
const NETLINK: &str = "shoal-netlink";

/// Libraries that the pure and kernel layers never use.
const NOT_BELOW_THE_SHELL: &[&str] = &["tokio", "tokio-util", "hyper", "futures", "async-trait"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Pure,
    Kernel,
    Shell,
    Dev,
    Xtask,
}

fn layer(package: &Package) -> Layer {
    let path = &package.manifest_path;
    let within = |dir: &str| path.contains(&format!("/crates/{dir}/"));
    match (within("pure"), within("kernel"), within("shell"), within("dev")) {
        (true, ..) => Layer::Pure,
        (_, true, ..) => Layer::Kernel,
        (_, _, true, _) => Layer::Shell,
        (.., true) => Layer::Dev,
        _ => Layer::Xtask,
    }
}

/// Who may depend on a crate of the kernel layer.
fn may_see_kernel(from: &str, layer: Layer) -> bool {
    // The command needs the shim's entry point, which must run before anything else does.
    layer == Layer::Dev || ["shoal-daemon", "shoal-lab", "shoal"].contains(&from)
}

fn allowed(from: &Package, from_layer: Layer, to: &Package) -> bool {
    match layer(to) {
        Layer::Pure if from.name == NETLINK => false,
        Layer::Pure if from_layer == Layer::Kernel => to.name == "shoal-model",
        Layer::Pure => true,
        // How netlink is spoken is known once; it knows nothing of ours itself.
        Layer::Kernel if from_layer == Layer::Kernel => to.name == NETLINK,
        Layer::Kernel => may_see_kernel(&from.name, from_layer),
        Layer::Shell => matches!(from_layer, Layer::Shell | Layer::Dev),
        Layer::Dev | Layer::Xtask => from_layer == Layer::Dev,
    }
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for from in packages {
        let from_layer = layer(from);
        for dependency in from.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev")) {
            let name = dependency.name.as_str();
            if let Some(to) = packages.iter().find(|p| p.name == name) {
                if !allowed(from, from_layer, to) {
                    found.push(format!(
                        "{} ({from_layer:?}) must not depend on {name} ({:?})",
                        from.name,
                        layer(to)
                    ));
                }
                continue;
            }
            if FENCES.iter().any(|(fenced, users)| *fenced == name && !users.contains(&from.name.as_str())) {
                found.push(format!("{} must not use {name}: it is fenced in other crates", from.name));
            }
            if matches!(from_layer, Layer::Pure | Layer::Kernel) && NOT_BELOW_THE_SHELL.contains(&name) {
                found.push(format!("{} ({from_layer:?}) must not use {name}", from.name));
            }
        }
    }
    found
}

/// Fails with every dependency that goes against the layers.
pub(crate) fn check() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(steps::root())
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let found = violations(&metadata.packages);
    if !found.is_empty() {
        bail!("the layers are broken:\n  {}", found.join("\n  "));
    }
    println!("layers: {} crates keep their directions", metadata.packages.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dir: &str, name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: format!("/w/crates/{dir}/Cargo.toml"),
            dependencies: dependencies
                .iter()
                .map(|d| Dependency { name: (*d).to_owned(), kind: None })
                .collect(),
        }
    }

    #[test]
    fn a_good_workspace_has_no_violation() {
        let packages = [
            package("pure/model", "shoal-model", &["serde"]),
            package("kernel/netlink", "shoal-netlink", &["netlink-sys"]),
            package("kernel/host", "shoal-host", &["shoal-model", "shoal-netlink"]),
            package("shell/daemon", "shoal-daemon", &["shoal-host", "shoal-model", "tokio"]),
        ];
        assert_eq!(violations(&packages), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_breach_is_named() {
        let packages = [
            package("pure/model", "shoal-model", &["tokio"]),
            package("pure/store", "shoal-store", &["shoal-host"]),
            package("kernel/host", "shoal-host", &["shoal-store"]),
            package("kernel/netlink", "shoal-netlink", &["shoal-model"]),
            package("kernel/lvs", "shoal-lvs", &["shoal-host", "shoal-netlink"]),
            package("shell/api", "shoal-api", &["shoal-host", "aya"]),
        ];
        assert_eq!(violations(&packages).len(), 7);
    }
}
