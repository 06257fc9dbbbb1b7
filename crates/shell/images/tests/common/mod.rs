//! Stores that go away with the test, and images to put into them.
#![allow(dead_code, reason = "each test file uses its own part")]

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shoal_images::{Error, Images, Message, Progress, Settings};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// A store in a directory of its own.
pub(crate) struct TestStore {
    pub(crate) images: Images,
    directory: tempfile::TempDir,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let directory = tempfile::Builder::new().prefix("shoal-test-images-").tempdir().unwrap();
        let images = Images::open_with(directory.path().join("images"), settings).unwrap();
        Self { images, directory }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("images")
    }

    /// The same store as another process would find it.
    pub(crate) fn reopened(self) -> Self {
        let Self { images, directory } = self;
        drop(images);
        let images = Images::open(directory.path().join("images")).unwrap();
        Self { images, directory }
    }

    pub(crate) async fn load(&self, archive: Vec<u8>) -> Result<Vec<String>, Error> {
        self.images.load(Cursor::new(archive), Progress::none()).await
    }

    pub(crate) async fn save(&self, names: &[&str]) -> Result<Vec<u8>, Error> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (writer, mut reader) = tokio::io::duplex(1 << 16);
        let mut archive = Vec::new();
        let (saved, read) = tokio::join!(self.images.save(&names, writer), reader.read_to_end(&mut archive));
        read.unwrap();
        saved.map(|()| archive)
    }

    /// Names of what is stored, by directory.
    pub(crate) fn holds(&self) -> BTreeMap<&'static str, Vec<String>> {
        let names = |directory: &str| names(&self.root().join(directory));
        BTreeMap::from([
            ("blobs", names("blobs/sha256")),
            ("layers", names("layers")),
            ("work", names("work")),
        ])
    }

    pub(crate) fn assert_empty(&self) {
        for (directory, names) in self.holds() {
            assert!(names.is_empty(), "{directory} holds {names:?}");
        }
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn digits(bytes: &[u8]) -> String {
    digest(bytes)["sha256:".len()..].to_owned()
}

/// An archive of files with their contents.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_000_000);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image in the making.
#[derive(Clone)]
pub(crate) struct TestImage {
    /// Archives of layers, lowest first, as they are to be stored.
    pub(crate) layers: Vec<Vec<u8>>,
    /// The same without compression.
    pub(crate) plain: Vec<Vec<u8>>,
    pub(crate) configuration: Value,
}

impl TestImage {
    pub(crate) fn new(layers: &[&[(&str, &[u8])]]) -> Self {
        let plain: Vec<Vec<u8>> = layers.iter().map(|files| tar(files)).collect();
        let diff_ids: Vec<String> = plain.iter().map(|layer| digest(layer)).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let configuration = json!({
            "created": "2024-01-02T03:04:05.5Z",
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "ExposedPorts": {"80/tcp": {}}, "Labels": null,
                "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000_i64},
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "COPY . /"}],
        });
        Self { layers: plain.clone(), plain, configuration }
    }

    /// One layer of one file, which tells the image from others.
    pub(crate) fn small(content: &str) -> Self {
        Self::new(&[&[("file", content.as_bytes())]])
    }

    pub(crate) fn compressed(mut self, compress: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        self.layers = self.plain.iter().map(|layer| compress(layer)).collect();
        self
    }

    pub(crate) fn configuration_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.configuration).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        digest(&self.configuration_bytes())
    }

    /// Members of an archive as `docker save` wrote it for ten years.
    pub(crate) fn docker_members(&self, tags: &[&str]) -> Vec<(String, Vec<u8>)> {
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        let mut layers = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let name = format!("{}-{index}/layer.tar", digits(layer));
            members.push((name.clone(), layer.clone()));
            layers.push(name);
        }
        let configuration = format!("{}.json", digits(&self.configuration_bytes()));
        members.push((configuration.clone(), self.configuration_bytes()));
        let listed = json!([{"Config": configuration, "RepoTags": tags, "Layers": layers}]);
        members.push(("manifest.json".into(), serde_json::to_vec(&listed).unwrap()));
        members
    }

    pub(crate) fn docker_archive(&self, tags: &[&str]) -> Vec<u8> {
        pack(&self.docker_members(tags))
    }

    pub(crate) fn manifest(&self) -> Vec<u8> {
        let layer = |layer: &Vec<u8>| {
            let suffix = if layer.starts_with(&[0x1f, 0x8b]) {
                "+gzip"
            } else if layer.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
                "+zstd"
            } else {
                ""
            };
            json!({
                "mediaType": format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
                "digest": digest(layer),
                "size": layer.len(),
            })
        };
        let configuration = self.configuration_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&configuration),
                "size": configuration.len(),
            },
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        serde_json::to_vec(&manifest).unwrap()
    }

    /// Blobs of an OCI layout.
    pub(crate) fn oci_blobs(&self) -> Vec<(String, Vec<u8>)> {
        let blobs =
            [self.manifest(), self.configuration_bytes()].into_iter().chain(self.layers.iter().cloned());
        blobs.map(|blob| (format!("blobs/sha256/{}", digits(&blob)), blob)).collect()
    }

    /// Members of an OCI layout; the image under `name`.
    pub(crate) fn oci_members(&self, name: Option<&str>) -> Vec<(String, Vec<u8>)> {
        let manifest = self.manifest();
        let annotations = name.map(|name| json!({"io.containerd.image.name": name}));
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(&manifest),
                "size": manifest.len(),
                "annotations": annotations.unwrap_or_else(|| json!({})),
            }],
        });
        let mut members = self.oci_blobs();
        members.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        members.push(("index.json".into(), serde_json::to_vec(&index).unwrap()));
        members
    }
}

/// An archive of members.
pub(crate) fn pack(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> =
        members.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
    tar(&files)
}

/// Several archives' images in one.
pub(crate) fn pack_together(images: &[Vec<(String, Vec<u8>)>]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut listed = Vec::new();
    for members in images {
        for (name, data) in members {
            if name == "manifest.json" {
                let entries: Vec<Value> = serde_json::from_slice(data).unwrap();
                listed.extend(entries);
            } else {
                all.push((name.clone(), data.clone()));
            }
        }
    }
    all.push(("manifest.json".into(), serde_json::to_vec(&listed).unwrap()));
    pack(&all)
}

/// Every message that was sent, once the sender is gone.
pub(crate) async fn collected(mut messages: tokio::sync::mpsc::UnboundedReceiver<Message>) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(message) = messages.recv().await {
        all.push(message);
    }
    all
}

pub(crate) fn read(layers: &[PathBuf], path: &str) -> String {
    let holder = layers.iter().map(|layer| layer.join(path)).find(|path| path.exists());
    std::fs::read_to_string(holder.expect("a layer has the file")).unwrap()
}
