//! Versions of the API, and how client and server agree on one.

use crate::ApiError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A version of the API, such as 1.50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// The part that counts.
    pub minor: u16,
}

/// The newest version that is spoken; paths without a version mean it.
pub const MAX: ApiVersion = ApiVersion { major: 1, minor: 50 };

/// The oldest version that is spoken.
pub const MIN: ApiVersion = ApiVersion { major: 1, minor: 24 };

impl ApiVersion {
    /// Version 1.`minor`.
    pub const fn minor(minor: u16) -> Self {
        Self { major: 1, minor }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid API version {0:?}")]
pub struct InvalidVersion(pub String);

impl std::str::FromStr for ApiVersion {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion(text.to_owned());
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self {
            major: major.parse().map_err(|_| invalid())?,
            minor: minor.parse().map_err(|_| invalid())?,
        })
    }
}

impl TryFrom<String> for ApiVersion {
    type Error = InvalidVersion;
    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<ApiVersion> for String {
    fn from(version: ApiVersion) -> String {
        version.to_string()
    }
}

/// Cuts `/v1.41/info` into the version and `/info`. A path without a version means the newest.
pub fn split_path(path: &str) -> Result<(ApiVersion, &str), ApiError> {
    let Some(rest) = path.strip_prefix("/v") else { return Ok((MAX, path)) };
    let (text, rest) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Ok((MAX, path));
    }
    let version: ApiVersion =
        text.parse().map_err(|e: InvalidVersion| ApiError::bad_request(e.to_string()))?;
    if version > MAX {
        return Err(ApiError::bad_request(format!(
            "client version {version} is too new. Maximum supported API version is {MAX}"
        )));
    }
    if version < MIN {
        return Err(ApiError::bad_request(format!(
            "client version {version} is too old. Minimum supported API version is {MIN}, please upgrade your client \
             to a newer version"
        )));
    }
    Ok((version, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_cut_from_paths() {
        assert_eq!(split_path("/v1.41/services/x").unwrap(), (ApiVersion::minor(41), "/services/x"));
        assert_eq!(split_path("/info").unwrap(), (MAX, "/info"));
        assert_eq!(split_path("/version").unwrap(), (MAX, "/version"));
        assert_eq!(split_path("/volumes").unwrap(), (MAX, "/volumes"));
        assert_eq!(split_path("/v1.50").unwrap(), (MAX, ""));
    }

    #[test]
    fn other_versions_are_refused_in_dockers_words() {
        let new = split_path("/v1.51/info").unwrap_err();
        assert_eq!(new.message, "client version 1.51 is too new. Maximum supported API version is 1.50");
        assert!(split_path("/v1.23/info").unwrap_err().message.contains("is too old"));
        assert!(ApiVersion::minor(9) < ApiVersion::minor(10));
    }
}
