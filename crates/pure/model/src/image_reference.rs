//! Names of images: `registry/repository:tag@digest`, as Docker reads them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A parsed, normalised image name. `busybox` is `docker.io/library/busybox:latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    /// Registry host with optional port, `docker.io` unless named.
    pub domain: String,
    /// Repository path below the registry, with `library/` for Docker's own.
    pub path: String,
    /// Tag; `latest` where neither tag nor digest is named.
    pub tag: Option<String>,
    /// Digest, `sha256:<64 hex>`.
    pub digest: Option<String>,
}

/// Why a text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format: {0}")]
pub struct InvalidReference(pub String);

const DEFAULT_DOMAIN: &str = "docker.io";

impl ImageReference {
    /// `busybox:latest` rather than `docker.io/library/busybox:latest`; the name that `docker images` shows.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest);
        }
        text
    }

    /// The familiar name without tag and digest.
    pub fn familiar_name(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned()
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    /// The same repository with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }
}

impl std::str::FromStr for ImageReference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).ok_or_else(|| InvalidReference(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<ImageReference> {
    let (name_tag, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(valid_digest(digest)?.to_owned())),
        None => (text, None),
    };
    let slash = name_tag.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match name_tag[slash..].find(':') {
        Some(i) => (&name_tag[..slash + i], Some(valid_tag(&name_tag[slash + i + 1..])?.to_owned())),
        None => (name_tag, None),
    };
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
        _ if name.contains('/') => (DEFAULT_DOMAIN, name.to_owned()),
        _ => (DEFAULT_DOMAIN, format!("library/{name}")),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') { format!("library/{path}") } else { path };
    if !valid_domain(domain) || path.len() > 255 || !path.split('/').all(valid_component) {
        return None;
    }
    let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
    Some(ImageReference { domain: domain.to_owned(), path, tag, digest })
}

fn valid_domain(domain: &str) -> bool {
    let host = domain.split_once(':').map_or(domain, |(host, _)| host);
    let port = domain.split_once(':').map(|(_, port)| port);
    host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.ends_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

fn valid_component(component: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = component.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
}

fn valid_tag(tag: &str) -> Option<&str> {
    let first = tag.bytes().next()?;
    let ok = tag.len() <= 128
        && (first.is_ascii_alphanumeric() || first == b'_')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    ok.then_some(tag)
}

fn valid_digest(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let ok = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ok.then_some(digest)
}

impl TryFrom<String> for ImageReference {
    type Error = InvalidReference;
    fn try_from(text: String) -> Result<Self, InvalidReference> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> String {
        reference.to_string()
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_and_shown_familiar() {
        for (given, full, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("jwilder/whoami:2", "docker.io/jwilder/whoami:2", "jwilder/whoami:2"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ] {
            let reference: ImageReference = given.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn a_digest_replaces_the_default_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference: ImageReference = format!("busybox@{digest}").parse().unwrap();
        assert_eq!(reference.tag, None);
        assert_eq!(reference.digest, Some(digest));
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "Busybox", "a//b", "a:", "a@sha256:12", "-a", "a:b:c", "../a", "a b"] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }
}
