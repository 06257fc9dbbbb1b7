//! Keys that end a terminal session without ending its process, `ctrl-p,ctrl-q`.

use crate::ApiError;

/// Bytes of the default sequence, `ctrl-p,ctrl-q`.
pub const DEFAULT: [u8; 2] = [16, 17];

/// Reads a sequence: single characters or `ctrl-` and one of `a`–`z @ [ \ ] ^ _`, separated by commas. Empty means the default.
pub fn parse(text: &str) -> Result<Vec<u8>, ApiError> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    text.split(',')
        .map(key)
        .collect::<Option<_>>()
        .ok_or_else(|| ApiError::bad_request(format!("Invalid detach keys ({text}) provided")))
}

fn key(text: &str) -> Option<u8> {
    if let [single] = text.as_bytes() {
        return Some(*single);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [other @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(other - b'@'),
        _ => None,
    }
}

/// Finds the sequence in input as it arrives.
#[derive(Debug)]
pub struct Detector {
    sequence: Vec<u8>,
    matched: usize,
}

/// What input means.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes for the process; a sequence that has begun is held back.
    Pass(Vec<u8>),
    /// Bytes for the process, then the session ends.
    Detach(Vec<u8>),
}

impl Detector {
    /// Looks for this sequence.
    pub fn new(sequence: Vec<u8>) -> Self {
        Self { sequence, matched: 0 }
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) -> Input {
        let mut pass = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.sequence.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return Input::Detach(pass);
                }
                continue;
            }
            pass.extend_from_slice(self.sequence.get(..self.matched).unwrap_or_default());
            self.matched = usize::from(self.sequence.first() == Some(&byte));
            if self.matched == 0 {
                pass.push(byte);
            }
        }
        Input::Pass(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read() {
        assert_eq!(parse("").unwrap(), DEFAULT);
        assert_eq!(parse("ctrl-a,b,ctrl-[").unwrap(), [1, b'b', 27]);
        assert!(parse("ctrl-").is_err() && parse("ab").is_err() && parse("ctrl-P").is_err());
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_never_passed_on() {
        let mut d = Detector::new(DEFAULT.to_vec());
        assert_eq!(d.push(b"ls\x10"), Input::Pass(b"ls".to_vec()));
        assert_eq!(d.push(b"x"), Input::Pass(b"\x10x".to_vec()));
        assert_eq!(d.push(b"\x10\x10"), Input::Pass(b"\x10".to_vec()));
        assert_eq!(d.push(b"\x11rest"), Input::Detach(Vec::new()));
    }
}
