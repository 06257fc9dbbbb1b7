//! Secrets and configs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use shoal_model::object::DataSpec;
use shoal_model::spec::{Driver, Labels};
use shoal_model::{Meta, Timestamp, Version};

/// A secret or config as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DataObject {
    /// Identity.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Name, labels and, of configs, the data.
    pub spec: DataBody,
}

/// Name, labels and data as they travel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DataBody {
    /// The name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// The content, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// External store of a secret, which Shoal does not use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Templating driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templating: Option<Driver>,
}

impl DataBody {
    /// The request with its data decoded.
    pub fn resolve(self) -> Result<DataSpec, crate::ApiError> {
        let data = STANDARD.decode(self.data.trim()).map_err(|error| {
            crate::ApiError::bad_request(format!("invalid JSON: Data is no base64: {error}"))
        })?;
        Ok(DataSpec { name: self.name, labels: self.labels, data, templating: self.templating })
    }
}

impl DataObject {
    /// A stored object as Docker shows it; `with_data` for configs only.
    pub fn new(id: &str, meta: Meta, spec: &DataSpec, with_data: bool) -> Self {
        Self {
            id: id.to_owned(),
            version: meta.version,
            created_at: meta.created_at,
            updated_at: meta.updated_at,
            spec: DataBody {
                name: spec.name.clone(),
                labels: spec.labels.clone(),
                data: if with_data { STANDARD.encode(&spec.data) } else { String::new() },
                driver: None,
                templating: spec.templating.clone(),
            },
        }
    }
}

/// Answer of `POST /secrets/create` and `POST /configs/create`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IdResponse {
    /// The new object.
    #[serde(rename = "ID")]
    pub id: String,
}
