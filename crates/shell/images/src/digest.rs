//! SHA-256 digests as content addresses, and what computes them on the way.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Read};

/// `sha256:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid or unsupported digest {0:?}: sha256 is needed")]
pub(crate) struct InvalidDigest(String);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 digits alone.
    pub(crate) fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The 12 digits that people are shown.
    pub(crate) fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }

    /// Reads the 64 digits alone, lower case.
    pub(crate) fn from_hex(digits: &str) -> Option<Self> {
        let lower = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let bytes = lower.then(|| hex::decode(digits).ok())??;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The id of the stack of layers with these digests, lowest first (OCI image specification, layer `ChainID`).
    pub(crate) fn chain(diff_ids: &[Self]) -> Option<Self> {
        let (first, rest) = diff_ids.split_first()?;
        Some(rest.iter().fold(*first, |below, diff_id| Self::of(format!("{below} {diff_id}").as_bytes())))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.strip_prefix("sha256:").and_then(Self::from_hex).ok_or_else(|| InvalidDigest(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Passes a stream through and computes its digest and length.
pub(crate) struct Digesting<R> {
    inner: R,
    hasher: Sha256,
    length: u64,
}

impl<R: Read> Digesting<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new(), length: 0 }
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of what has been read.
    pub(crate) fn finish(self) -> Digest {
        Digest(self.hasher.finalize().into())
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.length += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_folded_as_the_specification_says() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        assert_eq!(Digest::chain(&[a]), Some(a));
        assert_eq!(Digest::chain(&[a, b]), Some(Digest::of(format!("{a} {b}").as_bytes())));
        assert_eq!(Digest::chain(&[]), None);
    }

    #[test]
    fn only_whole_lower_case_sha256_is_a_digest() {
        let good = Digest::of(b"").to_string();
        assert_eq!(good, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        for bad in [&good[1..], &good[..70], &good.to_uppercase(), "sha512:00", "sha256:../../x"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
