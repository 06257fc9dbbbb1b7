//! What is answered.

use crate::head::Head;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest delay that can be asked for.
const SLOW_MAX: Duration = Duration::from_mins(1);

/// The name of this machine, which in a container is its short id unless told otherwise.
pub(crate) fn hostname() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) => name.trim().to_owned(),
        Err(_) => std::env::var("HOSTNAME").unwrap_or_else(|_| "unknown".to_owned()),
    }
}

/// How long to wait before answering: `/slow?ms=N`.
pub(crate) fn delay(head: &Head) -> Duration {
    if head.path() != "/slow" {
        return Duration::ZERO;
    }
    let asked = head.query("ms").and_then(|text| text.parse().ok()).unwrap_or(0);
    Duration::from_millis(asked).min(SLOW_MAX)
}

/// The answer's bytes. The client's address is its plain IPv4 address where it has one.
pub(crate) fn to(head: &Head, hostname: &str, peer: SocketAddr, alive: bool) -> Vec<u8> {
    if !matches!(head.method(), "GET" | "HEAD") {
        return with_status("405 Method Not Allowed", "only GET and HEAD are answered\n", false, true);
    }
    let mut body = format!("I'm {hostname}\n");
    if head.query("verbose").is_some() {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        // Writing to a string cannot fail.
        let _ = writeln!(body, "client {peer}");
        for line in &head.lines {
            let _ = writeln!(body, "{line}");
        }
    }
    with_status("200 OK", &body, alive, head.method() != "HEAD")
}

/// An answer with this status.
pub(crate) fn with_status(status: &str, body: &str, alive: bool, with_body: bool) -> Vec<u8> {
    let connection = if alive { "keep-alive" } else { "close" };
    let text = if with_body { body } else { "" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n\r\n{text}"
    )
    .into_bytes()
}
