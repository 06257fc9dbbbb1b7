//! Credentials for registries (`X-Registry-Auth`).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Credentials for one registry. All empty means anonymous.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryAuth {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
    /// The registry that they are for.
    pub serveraddress: String,
    /// Token instead of a password.
    pub identitytoken: String,
    /// Bearer token to be used as it is.
    pub registrytoken: String,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryAuth({} at {})", self.username, self.serveraddress)
    }
}

impl RegistryAuth {
    /// Reads the header: base64url (padded or not) of JSON. Docker's daemon takes nonsense for anonymous; so do we, since
    /// clients send `e30=` or worse with every request.
    pub fn from_header(header: &str) -> Option<Self> {
        use base64::Engine;
        let text = header.trim().trim_end_matches('=');
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| base64::engine::general_purpose::STANDARD_NO_PAD.decode(text))
            .ok()?;
        let auth: Self = crate::json::from_json(&bytes).ok()?;
        (auth != Self::default()).then_some(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_credentials_are_none() {
        assert_eq!(RegistryAuth::from_header("e30="), None);
        assert_eq!(RegistryAuth::from_header("%%%"), None);
        assert_eq!(RegistryAuth::from_header(""), None);
    }

    #[test]
    fn credentials_are_read_and_not_shown_in_logs() {
        // {"username":"u","password":"secret","serveraddress":"r:5000"}
        let header = "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InNlY3JldCIsInNlcnZlcmFkZHJlc3MiOiJyOjUwMDAifQ==";
        let auth = RegistryAuth::from_header(header).unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "secret"));
        assert!(!format!("{auth:?}").contains("secret"));
    }
}
