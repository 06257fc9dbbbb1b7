//! Asking a server outside: one query there, one checked reply back.

use crate::answer::{HEADER_LENGTH, Transport, udp_limit};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one server may take.
const SERVER_DEADLINE: Duration = Duration::from_secs(2);
/// How long it may take to fetch the whole of a truncated answer; less than the above, so that the short answer is not
/// lost with it.
const STREAM_DEADLINE: Duration = Duration::from_secs(1);
/// Least room for a datagram in octets, for servers that send more than the client said it takes.
const LEAST_ROOM: usize = 4096;

/// Asks `servers` in turn until one gives an answer that is of use, each within two seconds. A refusal or failure of
/// an earlier server is only passed on when no later one does better; `None` when none said anything.
pub(crate) async fn forward(query: &[u8], servers: &[SocketAddr], transport: Transport) -> Option<Vec<u8>> {
    let mut failed = None;
    for server in servers {
        match timeout(SERVER_DEADLINE, ask(query, *server, transport)).await {
            Ok(Ok(reply)) if is_failure(&reply) => failed = Some(reply),
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(error)) => tracing::debug!(%server, %error, "name server failed"),
            Err(_) => tracing::debug!(%server, "name server did not answer in time"),
        }
    }
    failed
}

async fn ask(query: &[u8], server: SocketAddr, transport: Transport) -> io::Result<Vec<u8>> {
    let id: u16 = rand::random();
    let mut sent = query.to_vec();
    sent.get_mut(..2).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(&id.to_be_bytes());
    let mut reply = match transport {
        Transport::Tcp => ask_tcp(&sent, server).await?,
        Transport::Udp => {
            let reply = ask_udp(&sent, server).await?;
            if is_truncated(&reply) { whole(&sent, server).await.unwrap_or(reply) } else { reply }
        }
    };
    reply[..2].copy_from_slice(&query[..2]);
    Ok(reply)
}

/// The whole of an answer that was truncated, if the server speaks TCP; otherwise the short one has to do.
async fn whole(query: &[u8], server: SocketAddr) -> Option<Vec<u8>> {
    timeout(STREAM_DEADLINE, ask_tcp(query, server)).await.ok()?.ok()
}

/// A fresh socket for each query, so that a forger has to guess the port too; connected, so that the kernel drops what
/// others send.
async fn ask_udp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; udp_limit(query).max(LEAST_ROOM)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], query) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, query).await?;
    let reply = read_message(&mut stream).await?;
    if answers(&reply, query) { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads one message with its 16-bit length (RFC 1035, 4.2.2).
pub(crate) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message with its 16-bit length, in one segment where it fits.
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Whether `reply` is a response to `query`: its id and its question. An error may come without the question.
fn answers(reply: &[u8], query: &[u8]) -> bool {
    let (Some(head), Some(asked)) = (reply.get(..HEADER_LENGTH), question(query)) else { return false };
    let is_response = head[2] & 0x80 != 0;
    let same_question = match question(reply) {
        Some(answered) => answered.eq_ignore_ascii_case(asked),
        None => head[4..6] == [0, 0] && response_code(reply) != 0,
    };
    is_response && head[..2] == query[..2] && same_question
}

/// The octets of the only question: labels, type, class. Questions hold no compressed names.
fn question(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER_LENGTH;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return message.get(HEADER_LENGTH..at + 5),
            length @ 1..=63 => at += length + 1,
            _ => return None,
        }
    }
}

fn response_code(reply: &[u8]) -> u8 {
    reply[3] & 0x0f
}

fn is_truncated(reply: &[u8]) -> bool {
    reply[2] & 0x02 != 0
}

/// Whether another server may do better: `SERVFAIL` (2) and `REFUSED` (5).
fn is_failure(reply: &[u8]) -> bool {
    matches!(response_code(reply), 2 | 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01";

    fn changed(at: usize, octet: u8) -> Vec<u8> {
        let mut reply = QUERY.to_vec();
        reply[2] = 0x81;
        reply[at] = octet;
        reply
    }

    #[test]
    fn a_reply_is_taken_by_id_and_question() {
        assert!(answers(&changed(0, 0x12), QUERY));
        assert!(answers(&changed(13, b'A'), QUERY), "names have no case");
        assert!(!answers(&changed(1, 0x35), QUERY), "another id");
        assert!(!answers(&changed(13, b'x'), QUERY), "another name");
        assert!(!answers(&changed(19, 28), QUERY), "another type");
        assert!(!answers(QUERY, QUERY), "a query is no reply");
        assert!(!answers(&QUERY[..11], QUERY));
    }

    #[test]
    fn an_error_may_leave_the_question_out() {
        let mut reply = QUERY[..12].to_vec();
        (reply[2], reply[5]) = (0x81, 0);
        assert!(!answers(&reply, QUERY));
        reply[3] = 5;
        assert!(answers(&reply, QUERY));
    }
}
