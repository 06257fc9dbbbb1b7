//! Manifests and lists of manifests: OCI's and Docker's second schema, which differ in names only.

use crate::compression::Compression;
use crate::digest::Digest;
use crate::error::Error;
use crate::image::Platform;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Longest manifest in bytes, as registries have it.
pub(crate) const LONGEST_MANIFEST: u64 = 4 << 20;

/// A blob and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<DescribedPlatform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// What a descriptor says of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DescribedPlatform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}

/// One image: a configuration and layers, lowest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// A list of manifests, one a platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// Either of both.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

impl Document {
    /// Reads a manifest or a list, told apart by what it holds, since OCI documents need not name their type.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Probe {
            #[serde(default, rename = "schemaVersion")]
            schema_version: u32,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let invalid = |error: serde_json::Error| Error::InvalidImage(format!("manifest: {error}"));
        let probe: Probe = serde_json::from_slice(bytes).map_err(invalid)?;
        if probe.schema_version != 2 {
            return Err(Error::InvalidImage(format!(
                "manifest has schema version {}, not 2",
                probe.schema_version
            )));
        }
        if probe.manifests.is_some() {
            return serde_json::from_slice(bytes).map(Self::Index).map_err(invalid);
        }
        serde_json::from_slice(bytes).map(Self::Manifest).map_err(invalid)
    }
}

impl Manifest {
    /// A manifest of our own for an image that came without one.
    pub(crate) fn new(
        config: (Digest, u64),
        layers: impl IntoIterator<Item = (Digest, u64, Compression)>,
    ) -> Self {
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: None,
        };
        let layer = |(digest, size, compression): (Digest, u64, Compression)| {
            let suffix = match compression {
                Compression::None => "",
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            descriptor(&format!("{OCI_LAYER}{suffix}"), digest, size)
        };
        Self {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: descriptor(OCI_CONFIG, config.0, config.1),
            layers: layers.into_iter().map(layer).collect(),
        }
    }

    /// The manifest's own type, also where it does not say.
    pub(crate) fn media_type(&self) -> &str {
        if self.media_type.is_empty() { OCI_MANIFEST } else { &self.media_type }
    }
}

impl Descriptor {
    /// Whether this layer's archive is stored without compression.
    pub(crate) fn is_plain_layer(&self) -> bool {
        self.media_type.strip_suffix("tar").is_some_and(|rest| rest.ends_with('.'))
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

impl From<DescribedPlatform> for Platform {
    fn from(platform: DescribedPlatform) -> Self {
        Self { architecture: platform.architecture, os: platform.os, variant: platform.variant }
    }
}

/// The architecture of this machine in Go's spelling.
pub(crate) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// The manifest for this machine. An entry without a platform fits where nothing else does.
pub(crate) fn for_this_machine(manifests: &[Descriptor]) -> Result<&Descriptor, Error> {
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_some_and(|platform| {
            platform.os == "linux"
                && platform.architecture == own_architecture()
                && matches!(platform.variant.as_str(), "" | "v8" | "v1")
        })
    };
    let fitting = manifests.iter().find(fits);
    let platform = || format!("linux/{}", own_architecture());
    fitting
        .or_else(|| manifests.iter().find(|descriptor| descriptor.platform.is_none()))
        .ok_or_else(|| Error::NoMatchingPlatform { platform: platform() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(platforms: &[(&str, &str)]) -> Vec<Descriptor> {
        let entry = |(index, (os, architecture)): (usize, &(&str, &str))| Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(&[u8::try_from(index).unwrap()]),
            size: 1,
            platform: (!os.is_empty()).then(|| DescribedPlatform {
                os: (*os).into(),
                architecture: (*architecture).into(),
                variant: String::new(),
            }),
            annotations: None,
        };
        platforms.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn the_own_platform_is_chosen_from_a_list() {
        let own = own_architecture();
        let entries = list(&[("windows", own), ("unknown", "unknown"), ("linux", "s390x"), ("linux", own)]);
        assert_eq!(for_this_machine(&entries).unwrap().digest, entries[3].digest);
        let error = for_this_machine(&entries[..3]).unwrap_err().to_string();
        assert_eq!(error, format!("no matching manifest for linux/{own} in the manifest list entries"));
        assert!(for_this_machine(&list(&[("", "")])).is_ok());
    }

    #[test]
    fn documents_are_told_apart_by_their_contents() {
        let manifest = Manifest::new((Digest::of(b"c"), 1), [(Digest::of(b"l"), 2, Compression::Gzip)]);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(Document::parse(&bytes).unwrap(), Document::Manifest(manifest));
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(Document::parse(index).unwrap(), Document::Index(_)));
        assert!(Document::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#).is_err());
        assert!(Document::parse(b"[]").is_err());
    }
}
