//! The head of a request: read from the stream, taken apart.

use std::io::{self, Read};

/// The longest head that is read.
const HEAD_BYTES: usize = 16 * 1024;

/// What came.
pub(crate) enum Came {
    /// A whole head, with what the stream holds after it left in the buffer.
    Head(Head),
    /// Nothing more will come.
    End,
    /// Nothing came in time, and nothing of a head is there yet.
    Silence,
    /// More than a head may have.
    TooLong,
}

/// The head of a request.
pub(crate) struct Head {
    /// All of its lines.
    pub(crate) lines: Vec<String>,
}

/// Reads on until the buffer holds a head, and takes it out. A read timeout within a head is the end.
pub(crate) fn next(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Came> {
    loop {
        // Empty lines before a request are to be ignored (RFC 9112, section 2.2).
        while buffer.starts_with(b"\r\n") {
            buffer.drain(..2);
        }
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return Ok(Came::Head(Head { lines: text.split("\r\n").map(str::to_owned).collect() }));
        }
        if buffer.len() > HEAD_BYTES {
            return Ok(Came::TooLong);
        }
        let mut part = [0_u8; 4096];
        match stream.read(&mut part) {
            Ok(0) => return Ok(Came::End),
            Ok(count) => buffer.extend_from_slice(&part[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && buffer.is_empty() => return Ok(Came::Silence),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Came::End),
            Err(e) => return Err(e),
        }
    }
}

impl Head {
    fn word(&self, number: usize) -> &str {
        self.lines.first().and_then(|line| line.split(' ').nth(number)).unwrap_or_default()
    }

    /// Method of the request.
    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// What is asked for, without its query.
    pub(crate) fn path(&self) -> &str {
        self.word(1).split('?').next().unwrap_or_default()
    }

    /// Value of a key of the query; empty for a key without one.
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        let query = self.word(1).split_once('?')?.1;
        query.split('&').find_map(|item| match item.split_once('=') {
            Some((name, value)) => (name == key).then_some(value),
            None => (item == key).then_some(""),
        })
    }

    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.lines.iter().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Whether the request line is one of HTTP/1.
    pub(crate) fn is_http(&self) -> bool {
        matches!(self.word(2), "HTTP/1.1" | "HTTP/1.0")
    }

    /// Whether the client wants to ask again on this connection. Nobody has a reason to send this server a body; the
    /// connection ends after a request that has one.
    pub(crate) fn keeps_alive(&self) -> bool {
        let body = self.field("transfer-encoding").is_some()
            || self.field("content-length").is_some_and(|length| length != "0");
        let asked = self.field("connection").unwrap_or_default().to_ascii_lowercase();
        let option = |word: &str| asked.split(',').any(|o| o.trim() == word);
        let alive = if self.word(2) == "HTTP/1.0" { option("keep-alive") } else { !option("close") };
        alive && !body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(text: &str) -> Vec<Head> {
        let mut stream = text.as_bytes();
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        while let Came::Head(head) = next(&mut stream, &mut buffer).unwrap() {
            found.push(head);
        }
        found
    }

    #[test]
    fn requests_sent_together_are_read_one_by_one() {
        let found =
            heads("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /slow?ms=5&verbose HTTP/1.0\r\n\r\nGET /cut");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].method(), found[0].path()), ("GET", "/"));
        assert_eq!((found[1].method(), found[1].path()), ("HEAD", "/slow"));
        assert_eq!((found[1].query("ms"), found[1].query("verbose")), (Some("5"), Some("")));
        assert_eq!(found[0].query("verbose"), None);
    }

    #[test]
    fn the_connection_lives_as_http_says() {
        let alive = |text: &str| heads(&format!("{text}\r\n\r\n"))[0].keeps_alive();
        assert!(alive("GET / HTTP/1.1"));
        assert!(!alive("GET / HTTP/1.1\r\nconnection: Close"));
        assert!(!alive("GET / HTTP/1.0"));
        assert!(alive("GET / HTTP/1.0\r\nConnection: keep-alive, x"));
        assert!(!alive("POST / HTTP/1.1\r\nContent-Length: 3"));
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let mut buffer = Vec::new();
        let endless = vec![b'a'; 2 * HEAD_BYTES];
        assert!(matches!(next(&mut endless.as_slice(), &mut buffer).unwrap(), Came::TooLong));
    }
}
