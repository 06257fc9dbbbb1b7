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
