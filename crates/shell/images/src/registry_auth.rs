//! Credentials for a registry, as Docker's clients send them.

use crate::error::Error;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::fmt;

/// What `X-Registry-Auth` carries. The empty object (`e30=`, sent by every pull) means none.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// The registry that these are for.
    #[serde(rename = "serveraddress")]
    pub server_address: String,
    /// A refresh token in place of a password.
    #[serde(rename = "identitytoken")]
    pub identity_token: String,
    /// A bearer token for the registry itself.
    #[serde(rename = "registrytoken")]
    pub registry_token: String,
}

impl RegistryAuth {
    /// Reads the header. `None` for an empty header and for one without credentials.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the header is not base64url of a JSON object.
    pub fn parse(header: &str) -> Result<Option<Self>, Error> {
        if header.is_empty() {
            return Ok(None);
        }
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        // Some clients send the ordinary alphabet.
        let text = header.replace('+', "-").replace('/', "_");
        let invalid = |why: String| Error::Invalid(format!("invalid X-Registry-Auth header: {why}"));
        let json = GeneralPurpose::new(&URL_SAFE, config)
            .decode(text)
            .map_err(|error| invalid(error.to_string()))?;
        let auth: Self = serde_json::from_slice(&json).map_err(|error| invalid(error.to_string()))?;
        Ok((!auth.is_empty()).then_some(auth))
    }

    fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }
}

/// Secrets stay out of logs.
impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_the_empty_object_are_no_credentials() {
        for header in ["", "e30=", "e30"] {
            assert_eq!(RegistryAuth::parse(header).unwrap(), None);
        }
    }

    #[test]
    fn credentials_are_read_and_kept_out_of_logs() {
        let header = "eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6InPDn8O_In0";
        let auth = RegistryAuth::parse(header).unwrap().unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("a", "sßÿ"));
        assert!(!format!("{auth:?}").contains('ß'));
    }

    #[test]
    fn noise_is_refused() {
        for header in ["%%%", "bm9wZQ=="] {
            assert!(RegistryAuth::parse(header).is_err());
        }
    }
}
