//! As much of HTTP as the lab needs to speak to a daemon over its unix socket: one request per connection.

use anyhow::{Context, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a daemon may be silent while it answers.
const SILENCE: Duration = Duration::from_mins(1);

/// A daemon's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, if the request was carried out; otherwise the daemon's words as the error.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        let value = serde_json::from_slice(&self.body).unwrap_or(Value::Null);
        if self.status < 300 {
            return Ok(value);
        }
        match value.get("message").and_then(Value::as_str) {
            Some(message) => bail!("{message}"),
            None => bail!("status {}: {}", self.status, String::from_utf8_lossy(&self.body).trim()),
        }
    }
}

/// Asks for something.
pub(crate) fn get(socket: &Path, path: &str) -> anyhow::Result<Answer> {
    ask(socket, "GET", path, "application/json", &[])
}

/// Sends a JSON document.
pub(crate) fn post(socket: &Path, path: &str, body: &Value) -> anyhow::Result<Answer> {
    ask(socket, "POST", path, "application/json", body.to_string().as_bytes())
}

/// Sends a tar archive.
pub(crate) fn post_tar(socket: &Path, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
    ask(socket, "POST", path, "application/x-tar", body)
}

fn ask(socket: &Path, method: &str, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Answer> {
    let exchange = || -> anyhow::Result<Answer> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        parse(&bytes).context("this is not an HTTP answer")
    };
    exchange().with_context(|| format!("{method} {path} on {}", socket.display()))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let rest = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let body = if field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        unchunk(rest)?
    } else if let Some(length) = field("content-length") {
        rest.get(..length.parse().ok()?)?.to_vec()
    } else {
        rest.to_vec()
    };
    Some(Answer { status, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = end + 2;
        body.extend_from_slice(rest.get(start..start.checked_add(size)?)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_however_their_length_is_given() {
        let of = |text: &str| parse(text.as_bytes()).map(|a| (a.status, String::from_utf8(a.body).unwrap()));
        let ok = Some((200, "hello".to_owned()));
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), ok);
        assert_eq!(
            of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n"),
            ok
        );
        assert_eq!(of("HTTP/1.0 200 OK\r\n\r\nhello"), ok);
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), None, "cut short");
        assert_eq!(of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx"), None);
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn the_daemons_words_are_the_error() {
        let answer = |status, body: &str| Answer { status, body: body.into() };
        assert_eq!(answer(200, "[1]").json().unwrap(), serde_json::json!([1]));
        assert_eq!(
            answer(409, r#"{"message":"no such thing"}"#).json().unwrap_err().to_string(),
            "no such thing"
        );
        assert_eq!(answer(500, "oops").json().unwrap_err().to_string(), "status 500: oops");
    }
}
