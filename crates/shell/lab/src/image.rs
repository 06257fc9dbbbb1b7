//! The lab's two images, made from programs of this machine and handed to the daemons as `docker save` would write
//! them. They are the same on every host and every time: nothing in them tells when they were made.

use crate::elf::read_static;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{Builder, EntryType, Header};

/// Where Debian's package busybox-static puts its program.
const BUSYBOX: &str = "/bin/busybox";
const BUSYBOX_CURE: &str = "install the package busybox-static";
const WHOAMI_CURE: &str = "build it with `cargo rustc -p shoal-whoami --release -- -C target-feature=+crt-static` \
                           and put it next to this program, or name it with --whoami";

/// An image as an archive that `POST /images/load` takes.
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) archive: Vec<u8>,
}

/// Both images.
pub(crate) fn both(whoami: Option<&Path>) -> anyhow::Result<Vec<Image>> {
    let whoami = match whoami {
        Some(path) => path.to_owned(),
        None => beside_us()?,
    };
    Ok(vec![busybox()?, self::whoami(&read_static(&whoami, WHOAMI_CURE)?)?])
}

fn beside_us() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    Ok(own.with_file_name("whoami"))
}

fn busybox() -> anyhow::Result<Image> {
    let program = read_static(Path::new(BUSYBOX), BUSYBOX_CURE)?;
    let output =
        Command::new(BUSYBOX).arg("--list").output().with_context(|| format!("cannot run {BUSYBOX}"))?;
    if !output.status.success() {
        bail!("`{BUSYBOX} --list` fails: {BUSYBOX_CURE}");
    }
    let list = String::from_utf8_lossy(&output.stdout);
    let mut applets: Vec<&str> = list.lines().filter(|name| is_plain(name) && *name != "busybox").collect();
    applets.sort_unstable();
    let mut layer = Layer::new();
    for directory in ["bin/", "etc/", "root/", "usr/", "usr/bin/", "var/"] {
        layer.directory(directory, 0o755)?;
    }
    layer.directory("tmp/", 0o1777)?;
    layer.file("bin/busybox", 0o755, &program)?;
    for applet in applets {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    layer.link("usr/bin/env", "../../bin/busybox")?;
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    let config = json!({
        "Cmd": ["sh"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    });
    archive("busybox:latest", &config, &layer.finish()?)
}

/// Whether this is a name that can stand in a directory.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

fn whoami(program: &[u8]) -> anyhow::Result<Image> {
    let mut layer = Layer::new();
    layer.file("whoami", 0o755, program)?;
    let config = json!({ "Cmd": ["/whoami"], "ExposedPorts": { "8000/tcp": {} } });
    archive("whoami:latest", &config, &layer.finish()?)
}

/// A tar archive in the making.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, mode: u32, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    }

    fn directory(&mut self, path: &str, mode: u32) -> anyhow::Result<()> {
        Ok(self.0.append_data(&mut Self::header(EntryType::Directory, mode, 0), path, &[][..])?)
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        Ok(self.0.append_data(&mut Self::header(EntryType::Regular, mode, content.len()), path, content)?)
    }

    fn link(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        Ok(self.0.append_link(&mut Self::header(EntryType::Symlink, 0o777, 0), path, target)?)
    }

    fn finish(self) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.into_inner()?)
    }
}

fn archive(name: &'static str, config: &Value, layer: &[u8]) -> anyhow::Result<Image> {
    let digest = hex::encode(Sha256::digest(layer));
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "shoal lab" }],
    })
    .to_string();
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": [layer_name] }]).to_string();
    let mut image = Layer::new();
    image.directory(&format!("{digest}/"), 0o755)?;
    image.file(&layer_name, 0o644, layer)?;
    image.file(&config_name, 0o644, config.as_bytes())?;
    image.file("manifest.json", 0o644, manifest.as_bytes())?;
    Ok(Image { name, archive: image.finish()? })
}

/// This machine's architecture in Go's words, as images have it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(target) = entry.link_name().unwrap() {
                content = target.to_string_lossy().into_owned().into_bytes();
            }
            found.insert(entry.path().unwrap().to_string_lossy().into_owned(), content);
        }
        found
    }

    #[test]
    fn an_image_is_what_docker_save_writes() {
        let image = whoami(b"program").unwrap();
        let files = unpack(&image.archive);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["whoami:latest"]));
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        let config: Value = serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(layer)));
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest]));
        assert_eq!(unpack(layer)["whoami"], b"program");
        assert_eq!(whoami(b"program").unwrap().archive, image.archive, "the same every time");
    }

    #[test]
    fn busybox_has_a_shell_and_a_place_for_files() {
        let files = unpack(&busybox().unwrap().archive);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let layer = unpack(&files[manifest[0]["Layers"][0].as_str().unwrap()]);
        assert_eq!(layer["bin/sh"], b"busybox");
        assert!(layer.contains_key("tmp/") && layer.contains_key("etc/passwd"));
        assert!(layer["bin/busybox"].starts_with(b"\x7fELF"));
    }
}
