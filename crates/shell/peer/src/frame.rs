//! What flows in a stream for logs or exec: bytes with a tag, so that the bytes need no escaping.

use crate::{Answer, RelayRequest};
use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};
use shoal_model::Timestamp;

/// One piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Input of a program.
    Stdin(Bytes),
    /// Its output, or everything when it has a terminal.
    Stdout(Bytes),
    /// Its error output.
    Stderr(Bytes),
    /// A line of a task's log.
    Log(LogLine),
    /// What is not data.
    Control(Control),
    /// The sender sends no more; the other direction goes on.
    End,
}

/// A line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub timestamp: Timestamp,
    /// Whether it is error output.
    pub stderr: bool,
    /// The line with its line feed.
    pub bytes: Bytes,
}

/// What is not data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// First frame of the node that answers a request for a stream.
    Open {
        /// The id in the request.
        id: String,
    },
    /// First frame of a manager that wants a stream from a node whose session another manager holds.
    Relay(RelayRequest),
    /// The terminal has a new size.
    Resize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// The program has ended.
    Exit {
        /// With this status.
        code: i32,
    },
    /// The answer to a question; nothing follows.
    Answer(Box<Answer>),
    /// It did not work; nothing follows.
    Failed {
        /// Why.
        message: String,
    },
}

// The first three tags are those of Docker's own multiplexed streams.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const LOG_OUT: u8 = 3;
const LOG_ERR: u8 = 4;
const CONTROL: u8 = 5;
const END: u8 = 6;

impl Frame {
    /// As bytes: a tag and the content.
    pub(crate) fn encode(self, out: &mut impl BufMut) -> Result<(), serde_json::Error> {
        let (tag, content) = match self {
            Self::Stdin(bytes) => (STDIN, bytes),
            Self::Stdout(bytes) => (STDOUT, bytes),
            Self::Stderr(bytes) => (STDERR, bytes),
            Self::Log(line) => {
                out.put_u8(if line.stderr { LOG_ERR } else { LOG_OUT });
                out.put_i64(line.timestamp.0);
                out.put(line.bytes);
                return Ok(());
            }
            Self::Control(control) => (CONTROL, serde_json::to_vec(&control)?.into()),
            Self::End => (END, Bytes::new()),
        };
        out.put_u8(tag);
        out.put(content);
        Ok(())
    }

    /// The reverse of [`Self::encode`].
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        Some(match bytes.get_u8() {
            STDIN => Self::Stdin(bytes),
            STDOUT => Self::Stdout(bytes),
            STDERR => Self::Stderr(bytes),
            tag @ (LOG_OUT | LOG_ERR) if bytes.len() >= 8 => {
                let timestamp = Timestamp(bytes.get_i64());
                Self::Log(LogLine { timestamp, stderr: tag == LOG_ERR, bytes })
            }
            CONTROL => Self::Control(serde_json::from_slice(&bytes).ok()?),
            END => Self::End,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
    }

    fn frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            content().prop_map(Frame::Stdin),
            content().prop_map(Frame::Stdout),
            content().prop_map(Frame::Stderr),
            (any::<i64>(), any::<bool>(), content()).prop_map(|(at, stderr, bytes)| Frame::Log(LogLine {
                timestamp: Timestamp(at),
                stderr,
                bytes
            })),
            any::<i32>().prop_map(|code| Frame::Control(Control::Exit { code })),
            ".*".prop_map(|message| Frame::Control(Control::Failed { message })),
            Just(Frame::End),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_the_way(frame in frame()) {
            let mut bytes = Vec::new();
            frame.clone().encode(&mut bytes).unwrap();
            prop_assert_eq!(Frame::decode(bytes.into()), Some(frame));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in content()) {
            let _ = Frame::decode(bytes);
        }
    }
}
