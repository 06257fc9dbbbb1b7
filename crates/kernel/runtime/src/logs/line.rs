//! One line of the log: cut from a stream, encoded, decoded.

use super::{LogLine, Stream};
use shoal_model::Timestamp;

/// Longest piece of a line in bytes; longer lines are split (moby `daemon/logger`, `defaultBufSize`).
const LONGEST_PIECE: usize = 16 * 1024;
/// Longest UTF-8 character less one.
const LONGEST_TAIL: usize = 3;

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub(crate) struct Cutter {
    stream: Stream,
    rest: Vec<u8>,
    /// When the first piece of the line was seen, if some of it is written already: its pieces share one time.
    line_time: Option<Timestamp>,
}

impl Cutter {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new(), line_time: None }
    }

    /// Takes bytes that came at `now` and appends the log's text for every line that they complete.
    pub(crate) fn take(&mut self, bytes: &[u8], now: Timestamp, text: &mut Vec<u8>) {
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            let open = self.rest.get(start..).unwrap_or_default();
            let newline = open.iter().take(LONGEST_PIECE).position(|b| *b == b'\n');
            let length = match newline {
                Some(at) => at + 1,
                None if open.len() >= LONGEST_PIECE => whole_characters(open, LONGEST_PIECE),
                None => break,
            };
            let time = self.line_time.unwrap_or(now);
            encode(time, self.stream, open.get(..length).unwrap_or_default(), text);
            self.line_time = newline.is_none().then_some(time);
            start += length;
        }
        self.rest.drain(..start);
    }

    /// Appends what is left at the stream's end.
    pub(crate) fn finish(&mut self, now: Timestamp, text: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            encode(self.line_time.unwrap_or(now), self.stream, &self.rest, text);
        }
        self.rest.clear();
        self.line_time = None;
    }
}

/// The length of a piece of at most `limit` bytes that does not end inside a character.
fn whole_characters(bytes: &[u8], limit: usize) -> usize {
    let is_boundary = |at: usize| bytes.get(at).is_none_or(|b| b & 0b1100_0000 != 0b1000_0000);
    (limit - LONGEST_TAIL..=limit).rev().find(|at| is_boundary(*at)).unwrap_or(limit)
}

/// Appends one object and its newline, as Docker's json-file driver spells it.
pub(crate) fn encode(time: Timestamp, stream: Stream, bytes: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(b"{\"log\":\"");
    for c in String::from_utf8_lossy(bytes).chars() {
        escape(c, text);
    }
    text.extend_from_slice(match stream {
        Stream::Stdout => b"\",\"stream\":\"stdout\",\"time\":\"",
        Stream::Stderr => b"\",\"stream\":\"stderr\",\"time\":\"",
    });
    text.extend_from_slice(time.to_string().as_bytes());
    text.extend_from_slice(b"\"}\n");
}

/// Appends one character inside a JSON text as Go escapes it: also `<`, `>`, `&` and the two Unicode line separators.
fn escape(c: char, text: &mut Vec<u8>) {
    match c {
        '"' => text.extend_from_slice(b"\\\""),
        '\\' => text.extend_from_slice(b"\\\\"),
        '\n' => text.extend_from_slice(b"\\n"),
        '\r' => text.extend_from_slice(b"\\r"),
        '\t' => text.extend_from_slice(b"\\t"),
        '<' | '>' | '&' | '\u{0}'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
            text.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
        }
        other => text.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[derive(serde::Deserialize)]
struct Object<'a> {
    #[serde(default)]
    log: String,
    #[serde(borrow)]
    stream: &'a str,
    time: Timestamp,
}

/// Reads one object; none for a line that a crash or a foreign hand has spoilt.
pub(super) fn decode(line: &[u8]) -> Option<LogLine> {
    let object: Object<'_> = serde_json::from_slice(line).ok()?;
    let stream = if object.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    Some(LogLine { time: object.time, stream, bytes: object.log.into_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp(1_700_000_000_500_000_000);

    fn lines(text: &[u8]) -> Vec<LogLine> {
        text.split_inclusive(|b| *b == b'\n').map(|l| decode(l).unwrap()).collect()
    }

    #[test]
    fn a_line_is_spelt_as_docker_spells_it() {
        let mut text = Vec::new();
        encode(TIME, Stream::Stderr, "a \"b\" \\ <c> & \t\u{1b}[0m \u{2028} ü\r\n".as_bytes(), &mut text);
        let expected = concat!(
            r#"{"log":"a \"b\" \\ \u003cc\u003e \u0026 \t\u001b[0m \u2028 ü\r\n","#,
            r#""stream":"stderr","time":"2023-11-14T22:13:20.5Z"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn lines_are_cut_at_newlines_wherever_the_reads_end() {
        let (mut cutter, mut text) = (Cutter::new(Stream::Stdout), Vec::new());
        for part in ["on", "e\ntwo\nthr", "ee", "\n", "four"] {
            cutter.take(part.as_bytes(), TIME, &mut text);
        }
        assert_eq!(lines(&text).len(), 3, "an open line is not written yet");
        cutter.finish(TIME, &mut text);
        let found: Vec<Vec<u8>> = lines(&text).into_iter().map(|l| l.bytes).collect();
        assert_eq!(found, [&b"one\n"[..], b"two\n", b"three\n", b"four"]);
    }

    #[test]
    fn long_lines_are_split_into_pieces_that_share_a_time() {
        let (mut cutter, mut text) = (Cutter::new(Stream::Stdout), Vec::new());
        let later = Timestamp(TIME.0 + 1);
        cutter.take("x".repeat(20_000).as_bytes(), TIME, &mut text);
        cutter.take("x".repeat(20_000).as_bytes(), later, &mut text);
        cutter.take(b"\nnext\n", later, &mut text);
        let found: Vec<(usize, Timestamp)> = lines(&text).iter().map(|l| (l.bytes.len(), l.time)).collect();
        assert_eq!(found, [(16_384, TIME), (16_384, TIME), (40_000 - 32_768 + 1, TIME), (5, later)]);
    }

    #[test]
    fn characters_are_not_cut_in_two() {
        let (mut cutter, mut text) = (Cutter::new(Stream::Stdout), Vec::new());
        let line = format!("x{}\n", "ü".repeat(20_000));
        cutter.take(line.as_bytes(), TIME, &mut text);
        let whole: Vec<u8> = lines(&text).into_iter().flat_map(|l| l.bytes).collect();
        assert_eq!(String::from_utf8(whole).unwrap(), line);
    }
}
