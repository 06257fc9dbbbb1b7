//! Join tokens: `SWMTKN-1-<digest of the root certificate>-<secret>`. The digest lets a machine check that it talks to
//! the right cluster before it trusts anything; the secret lets the cluster check the machine.

use shoal_model::cluster::JoinTokens;
use shoal_model::id::base36;
use shoal_model::node::NodeRole;
use std::fmt;
use std::str::FromStr;

/// 256 bits in base 36 (swarmkit `ca/config.go`: `joinTokenBase`, `base36DigestLen`).
const DIGEST_CHARS: usize = 50;
/// 128 bits in base 36.
const SECRET_CHARS: usize = 25;
const PREFIX: &str = "SWMTKN-1-";

/// A text is not a join token. (The words are Docker's.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub struct InvalidToken;

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root_digest: [u8; 32],
    secret: String,
}

impl JoinToken {
    /// A new token for the cluster whose root certificate has this sha-256 digest.
    pub fn generate(root_digest: [u8; 32]) -> Self {
        Self { root_digest, secret: base36(rand::random()) }
    }

    /// The digest of the root certificate that the cluster must show.
    pub fn root_digest(&self) -> [u8; 32] {
        self.root_digest
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}", digest_to_base36(self.root_digest), self.secret)
    }
}

impl fmt::Debug for JoinToken {
    /// Without the secret, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-…", digest_to_base36(self.root_digest))
    }
}

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (digest, secret) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).ok_or(InvalidToken)?;
        let is_base36 = |t: &str| t.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if digest.len() != DIGEST_CHARS || secret.len() != SECRET_CHARS || !is_base36(secret) {
            return Err(InvalidToken);
        }
        let root_digest = base36_to_digest(digest).ok_or(InvalidToken)?;
        Ok(Self { root_digest, secret: secret.to_owned() })
    }
}

/// The role that a token gives, if it is one of the cluster's. The time it takes does not depend on how much of it fits.
pub fn role_of_token(token: &str, tokens: &JoinTokens) -> Option<NodeRole> {
    let manager = same(token, &tokens.manager);
    let worker = same(token, &tokens.worker);
    if manager {
        Some(NodeRole::Manager)
    } else if worker {
        Some(NodeRole::Worker)
    } else {
        None
    }
}

/// Equality in time that depends on the lengths only. An empty expected text equals nothing.
fn same(given: &str, expected: &str) -> bool {
    if expected.is_empty() || given.len() != expected.len() {
        return false;
    }
    let differing = given.bytes().zip(expected.bytes()).fold(0_u8, |seen, (a, b)| seen | (a ^ b));
    std::hint::black_box(differing) == 0
}

fn digest_to_base36(digest: [u8; 32]) -> String {
    let mut number = digest;
    let mut text = [b'0'; DIGEST_CHARS];
    for slot in text.iter_mut().rev() {
        let digit = divide(&mut number, 36);
        *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    }
    text.iter().map(|b| char::from(*b)).collect()
}

/// Divides a big-endian number in place and returns the remainder.
fn divide(number: &mut [u8; 32], by: u8) -> u8 {
    let mut rest = 0_u16;
    for byte in number.iter_mut() {
        let value = rest * 256 + u16::from(*byte);
        // The quotient is below 256 because the rest carried in is below the divisor.
        *byte = u8::try_from(value / u16::from(by)).unwrap_or(u8::MAX);
        rest = value % u16::from(by);
    }
    u8::try_from(rest).unwrap_or(u8::MAX)
}

fn base36_to_digest(text: &str) -> Option<[u8; 32]> {
    let mut number = [0_u8; 32];
    for c in text.chars() {
        let digit = c.to_digit(36).filter(|_| !c.is_ascii_uppercase())?;
        let mut carry = digit;
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = u8::try_from(value & 0xff).unwrap_or(0);
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_parses_back_to_what_it_was(digest: [u8; 32]) {
            let token = JoinToken::generate(digest);
            let text = token.to_string();
            prop_assert_eq!(text.len(), 9 + 50 + 1 + 25);
            prop_assert_eq!(text.parse::<JoinToken>(), Ok(token));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,120}|SWMTKN-1-[0-9a-zA-Z-]{70,80}") {
            let _ = text.parse::<JoinToken>();
        }
    }

    #[test]
    fn the_largest_digest_has_the_known_form() {
        // 2^256 - 1 in base 36, computed with bc.
        let text = digest_to_base36([0xff; 32]);
        assert_eq!(text, "6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof");
        assert_eq!(digest_to_base36([0; 32]), "0".repeat(50));
    }

    #[test]
    fn damaged_tokens_are_invalid() {
        let good = JoinToken::generate([7; 32]).to_string();
        let mut bad = vec![String::new(), "SWMTKN".to_owned(), good.to_uppercase(), format!("{good}x")];
        bad.push(good.replace("SWMTKN-1", "SWMTKN-2"));
        bad.push(good[..good.len() - 1].to_owned());
        bad.push(format!("SWMTKN-1-{}-{}", "z".repeat(50), "0".repeat(25)));
        for text in bad {
            assert_eq!(text.parse::<JoinToken>(), Err(InvalidToken), "{text}");
        }
    }

    #[test]
    fn a_token_gives_the_role_it_was_made_for() {
        let (worker, manager) = (JoinToken::generate([1; 32]), JoinToken::generate([1; 32]));
        let tokens = JoinTokens { worker: worker.to_string(), manager: manager.to_string() };
        assert_eq!(role_of_token(&tokens.worker, &tokens), Some(NodeRole::Worker));
        assert_eq!(role_of_token(&tokens.manager, &tokens), Some(NodeRole::Manager));
        assert_eq!(role_of_token(&JoinToken::generate([1; 32]).to_string(), &tokens), None);
        assert_eq!(role_of_token("", &JoinTokens::default()), None, "no token was set");
    }
}
