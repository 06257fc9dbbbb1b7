//! Identifiers of swarm objects: 25 characters of base36, as Docker Swarm prints them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Length of every swarm object's id in characters (swarmkit `identity.NewID`).
pub const ID_LENGTH_CHARS: usize = 25;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: 25 characters of 0-9a-z are needed")]
pub struct InvalidId(pub String);

/// Turns 128 random bits into the 25 base36 characters that ids are made of (most significant first).
pub fn base36(random: u128) -> String {
    base36_bytes(random).iter().map(|b| char::from(*b)).collect()
}

fn base36_bytes(mut random: u128) -> [u8; ID_LENGTH_CHARS] {
    let mut text = [b'0'; ID_LENGTH_CHARS];
    for slot in text.iter_mut().rev() {
        let digit = u8::try_from(random % 36).unwrap_or(0);
        *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        random /= 36;
    }
    text
}

/// The bytes of a text that is an id. Ids are kept inline: the store copies maps of many thousands of them.
fn id_bytes(text: &str) -> Option<[u8; ID_LENGTH_CHARS]> {
    let bytes: [u8; ID_LENGTH_CHARS] = text.as_bytes().try_into().ok()?;
    bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()).then_some(bytes)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; ID_LENGTH_CHARS]);

        impl $name {
            /// An id from 128 random bits.
            pub fn from_random(random: u128) -> Self {
                Self(base36_bytes(random))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                // Only ASCII digits and letters ever get in, so the default is never taken.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl std::hash::Hash for $name {
            // As text, because `Borrow<str>` promises the same hash for both.
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                id_bytes(&text).map(Self).ok_or(InvalidId(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                id_bytes(text).map(Self).ok_or_else(|| InvalidId(text.to_owned()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

id!(/** A swarm. */ ClusterId);
id!(/** A machine in the swarm. */ NodeId);
id!(/** A service. */ ServiceId);
id!(/** One attempt to run one container of a service. */ TaskId);
id!(/** An overlay network of the swarm. */ NetworkId);
id!(/** A secret. */ SecretId);
id!(/** A config. */ ConfigId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_value_gives_a_valid_id_that_parses_back() {
        for random in [0, 1, 35, 36, u128::MAX, u128::MAX / 7] {
            let id = NodeId::from_random(random);
            assert_eq!(id.as_str().parse::<NodeId>(), Ok(id.clone()));
        }
        assert_ne!(base36(u128::MAX), base36(u128::MAX - 1));
    }

    #[test]
    fn bad_ids_are_refused() {
        for text in ["", "abc", "ABCDEFGHIJKLMNOPQRSTUVWXY", "a b-defghijklmnopqrstuvwxy"] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }
}
