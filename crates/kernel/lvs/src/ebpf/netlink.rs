//! Requests and answers of netlink, in the namespace of the thread that opened the link.
//!
//! Numbers are those of `linux/netlink.h`.

use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

pub(crate) const REQUEST: u16 = 0x01;
pub(crate) const ACKNOWLEDGE: u16 = 0x04;
pub(crate) const DUMP: u16 = 0x300;

const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;

/// Length of `struct nlmsghdr` in bytes.
const HEADER: usize = 16;
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A socket to one part of the kernel.
pub(crate) struct Link {
    socket: Socket,
}

impl Link {
    /// `protocol` is one of `NETLINK_*`.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let deadline = nix::sys::time::TimeVal::new(ANSWER_DEADLINE.as_secs().cast_signed(), 0);
        nix::sys::socket::setsockopt(&socket.as_fd(), nix::sys::socket::sockopt::ReceiveTimeout, &deadline)?;
        Ok(Self { socket })
    }

    /// Sends, and collects the answers up to the acknowledgement or the end of the dump.
    pub(crate) fn ask(&self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.socket.send(&message.finish()?, 0)?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _from) = self.socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while let Some((kind, body, next)) = split_message(rest) {
                match kind {
                    MESSAGE_DONE => return Ok(answers),
                    MESSAGE_ERROR => {
                        return match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                            Some(0) => Ok(answers),
                            Some(code) => Err(io::Error::from_raw_os_error(-code)),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    _ => answers.push(body.to_vec()),
                }
                rest = next;
            }
        }
    }
}

fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Content of the attribute of this kind.
pub(crate) fn find_attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        let content = bytes.get(4..length)?;
        // The upper two bits are flags.
        if kind & 0x3fff == wanted {
            return Some(content);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// Appends an attribute.
pub(crate) fn put_attribute(bytes: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(content.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A request.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A header, without anything yet.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.resize(HEADER, 0);
        Self(bytes)
    }

    /// Appends the bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Appends an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, content: &[u8]) {
        put_attribute(&mut self.0, kind, content);
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        Ok(self.0)
    }
}
