//! Secrets and configs.

use crate::spec::{Driver, Labels};
use crate::{ConfigId, Meta, SecretId};
use serde::{Deserialize, Serialize};

/// A name, labels and data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSpec {
    /// The name, unique among its kind.
    pub name: String,
    /// Labels, the only part that may change.
    pub labels: Labels,
    /// The content.
    pub data: Vec<u8>,
    /// Templating driver.
    pub templating: Option<Driver>,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Identity.
    pub id: SecretId,
    /// Version and times.
    pub meta: Meta,
    /// Name, labels, data.
    pub spec: DataSpec,
}

/// A config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Identity.
    pub id: ConfigId,
    /// Version and times.
    pub meta: Meta,
    /// Name, labels, data.
    pub spec: DataSpec,
}
