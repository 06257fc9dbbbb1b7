//! The multiplexed stream: one connection for standard output and error.
//!
//! Each frame has a header of eight bytes: the stream's number, three zeros, and the payload's length as a big-endian u32
//! (Docker API, "stream format" of attach).

use crate::logs::StdStream;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// The most payload that one frame is given here; longer output is cut into several frames.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// The number of a stream in a frame's header.
pub fn stream_number(stream: StdStream) -> u8 {
    match stream {
        StdStream::Stdin => 0,
        StdStream::Stdout => 1,
        StdStream::Stderr => 2,
        StdStream::System => 3,
    }
}

/// Frames of `payload`.
pub fn frame(stream: StdStream, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + HEADER_BYTES);
    for part in payload.chunks(MAX_PAYLOAD_BYTES) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes();
        out.extend_from_slice(&[stream_number(stream), 0, 0, 0]);
        out.extend_from_slice(&length);
        out.extend_from_slice(part);
    }
    out
}

/// Takes frames out of bytes as they arrive.
#[derive(Debug, Default)]
pub struct Reader {
    pending: Vec<u8>,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized stream number {0}")]
pub struct BadFrame(pub u8);

impl Reader {
    /// Adds bytes and returns the frames that are complete now.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<(StdStream, Vec<u8>)>, BadFrame> {
        self.pending.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(&[number, _, _, _, a, b, c, d]) =
            self.pending.get(at..at + HEADER_BYTES).and_then(|h| <&[u8; HEADER_BYTES]>::try_from(h).ok())
        {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let start = at + HEADER_BYTES;
            let Some(payload) = self.pending.get(start..start.saturating_add(length)) else { break };
            let stream = match number {
                0 => StdStream::Stdin,
                1 => StdStream::Stdout,
                2 => StdStream::Stderr,
                3 => StdStream::System,
                other => return Err(BadFrame(other)),
            };
            frames.push((stream, payload.to_vec()));
            at = start + length;
        }
        self.pending.drain(..at);
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_dockers_header() {
        assert_eq!(frame(StdStream::Stderr, b"hi\n"), b"\x02\0\0\0\0\0\0\x03hi\n");
        assert!(frame(StdStream::Stdout, b"").is_empty());
    }

    #[test]
    fn frames_are_found_however_the_bytes_arrive() {
        let mut bytes = frame(StdStream::Stdout, b"one");
        bytes.extend(frame(StdStream::Stderr, b"two!"));
        let mut reader = Reader::default();
        let mut frames = Vec::new();
        for byte in bytes {
            frames.extend(reader.push(&[byte]).unwrap());
        }
        assert_eq!(frames, [(StdStream::Stdout, b"one".to_vec()), (StdStream::Stderr, b"two!".to_vec())]);
    }

    #[test]
    fn long_output_is_cut() {
        let long = vec![b'x'; MAX_PAYLOAD_BYTES + 1];
        let frames = Reader::default().push(&frame(StdStream::Stdout, &long)).unwrap();
        assert_eq!(frames.iter().map(|(_, p)| p.len()).collect::<Vec<_>>(), [MAX_PAYLOAD_BYTES, 1]);
    }

    #[test]
    fn unknown_streams_are_refused() {
        assert_eq!(Reader::default().push(&[9, 0, 0, 0, 0, 0, 0, 0]), Err(BadFrame(9)));
    }
}
