//! Messages of long actions: pull, push, load, import.

use serde::{Deserialize, Serialize};

/// One message. Fields that do not apply are left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Text printed as it is (`Loaded image: whoami:latest\n`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// A state (`Downloading`), in the line named by `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How far.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// What the state is about: a layer's short digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The progress bar for clients that do not draw their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Data for programs (the digest that was pushed).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far an action is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    /// Done.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// In all; 0 if unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Progress {
    /// Text printed as it is.
    pub fn text(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A state that belongs to no line.
    pub fn status(status: impl Into<String>) -> Self {
        Self { status: Some(status.into()), ..Self::default() }
    }

    /// A state of the line `id`, with the bytes done of all.
    pub fn layer(id: impl Into<String>, status: impl Into<String>, done_of: Option<(u64, u64)>) -> Self {
        let (current, total) = done_of.unwrap_or_default();
        Self {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current, total }),
            ..Self::default()
        }
    }

    /// Data for programs.
    pub fn aux(aux: serde_json::Value) -> Self {
        Self { aux: Some(aux), ..Self::default() }
    }
}
