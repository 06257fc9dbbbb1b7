//! The socket: request with acknowledgement, dump, and many requests with one acknowledgement.

use crate::{Error, read_attributes};
use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{ReceiveTimeout, SndBufForce};
use nix::sys::time::TimeVal;
use std::io;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLM_F_ROOT | NLM_F_MATCH`.
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// How long to wait for each answer. The kernel answers within the system call that asks, or at the latest when it
/// has loaded a module.
const ANSWER_SECONDS: i64 = 10;
/// The kernel never sends more in one go than the larger of 32 KiB and what was read before.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Requests sent in one go: their error answers, should all fail, must fit into the socket's receive buffer.
const BATCH_REQUESTS: usize = 128;
/// Limit of what can be sent in one go: a packet-filter table with thousands of rules is one transaction.
const SEND_BYTES: usize = 8 * 1024 * 1024;
/// How often an interrupted dump is tried again.
const DUMP_ATTEMPTS: usize = 10;

/// A message to the kernel.
#[derive(Debug, Clone)]
pub struct Request {
    /// Message type.
    pub kind: u16,
    /// Flags beyond those that the verb adds.
    pub flags: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// A message from the kernel.
#[derive(Debug)]
pub struct Reply {
    /// Message type.
    pub kind: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// A netlink socket of the namespace in which the opening thread was.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
}

impl Socket {
    /// Opens a socket of this netlink family in the calling thread's namespace.
    pub fn open(protocol: isize) -> Result<Self, Error> {
        let open = || -> io::Result<netlink_sys::Socket> {
            let mut inner = netlink_sys::Socket::new(protocol)?;
            inner.bind_auto()?;
            // Only the kernel's messages are received then.
            inner.connect(&SocketAddr::new(0, 0))?;
            inner.set_ext_ack(true)?;
            inner.set_cap_ack(true)?;
            setsockopt(&inner, ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))?;
            setsockopt(&inner, SndBufForce, &SEND_BYTES)?;
            Ok(inner)
        };
        Ok(Self { inner: open().map_err(Error::Socket)?, sequence: 0 })
    }

    /// Sends one request and waits until the kernel has done it; returns what it answered, if anything.
    pub fn request(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        let sequence = self.send([(request, NLM_F_ACK)])?;
        let mut replies = Vec::new();
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                match message.outcome()? {
                    Outcome::Done => return Ok(replies),
                    Outcome::Failed(reason) => return Err(reason),
                    Outcome::Reply(reply) => replies.push(reply),
                }
            }
        }
    }

    /// Asks for all objects of a sort, again if they changed meanwhile.
    pub fn dump(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(replies) = self.dump_once(request)? {
                return Ok(replies);
            }
        }
        Err(Error::Unsteady)
    }

    fn dump_once(&mut self, request: &Request) -> Result<Option<Vec<Reply>>, Error> {
        let sequence = self.send([(request, NLM_F_DUMP)])?;
        let mut replies = Vec::new();
        let mut steady = true;
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                steady &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.outcome()? {
                    Outcome::Done => return Ok(steady.then_some(replies)),
                    Outcome::Failed(Error::Kernel { errno: Errno::EINTR, .. }) => return Ok(None),
                    Outcome::Failed(reason) => return Err(reason),
                    Outcome::Reply(reply) => replies.push(reply),
                }
            }
        }
    }

    /// Sends many requests, acknowledged together; returns those that failed, by position. The others are done.
    pub fn batch(&mut self, requests: &[Request]) -> Result<Vec<(usize, Error)>, Error> {
        let mut failed = Vec::new();
        for (round, chunk) in requests.chunks(BATCH_REQUESTS).enumerate() {
            let flags = |i: usize| if i + 1 == chunk.len() { NLM_F_ACK } else { 0 };
            let last = self.send(chunk.iter().enumerate().map(|(i, request)| (request, flags(i))))?;
            let mut open = true;
            while open {
                for message in self.receive()? {
                    // Sequence numbers of a chunk are consecutive and end with `last`.
                    let back = last.wrapping_sub(message.sequence) as usize;
                    if back >= chunk.len() {
                        continue;
                    }
                    open &= back != 0;
                    if let Outcome::Failed(reason) = message.outcome()? {
                        failed.push((round * BATCH_REQUESTS + chunk.len() - 1 - back, reason));
                    }
                }
            }
        }
        Ok(failed)
    }

    /// Sends requests that the kernel carries out all or not at all (as netfilter's batches are); the first failure
    /// is the reason.
    pub fn transaction(&mut self, requests: &[Request], end: &Request) -> Result<(), Error> {
        let count = requests.len();
        // The end marker itself is never acknowledged by older kernels, so the last real request is.
        let marked =
            requests.iter().enumerate().map(|(i, r)| (r, if i + 1 == count { NLM_F_ACK } else { 0 }));
        let last = self.send(marked.chain([(end, 0)]))?.wrapping_sub(1);
        loop {
            for message in self.receive()? {
                let back = last.wrapping_sub(message.sequence) as usize;
                if back >= count {
                    continue;
                }
                match message.outcome()? {
                    Outcome::Failed(reason) => return Err(reason),
                    Outcome::Done if back == 0 => return Ok(()),
                    _ => {}
                }
            }
        }
    }

    /// Sends requests in one system call; returns the last one's sequence number.
    fn send<'r>(&mut self, requests: impl IntoIterator<Item = (&'r Request, u16)>) -> Result<u32, Error> {
        let mut buffer = Vec::new();
        for (request, flags) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let length = u32::try_from(HEADER + request.body.len())
                .map_err(|_| Error::malformed("request too long"))?;
            buffer.extend_from_slice(&length.to_ne_bytes());
            buffer.extend_from_slice(&request.kind.to_ne_bytes());
            buffer.extend_from_slice(&(request.flags | flags | NLM_F_REQUEST).to_ne_bytes());
            buffer.extend_from_slice(&self.sequence.to_ne_bytes());
            buffer.extend_from_slice(&0_u32.to_ne_bytes());
            buffer.extend_from_slice(&request.body);
            buffer.resize(buffer.len().next_multiple_of(4), 0);
        }
        self.inner.send(&buffer, 0).map_err(Error::Socket)?;
        Ok(self.sequence)
    }

    /// The next messages from the kernel.
    fn receive(&mut self) -> Result<Vec<Message>, Error> {
        let mut buffer: Vec<u8> = Vec::with_capacity(RECEIVE_BYTES);
        match self.inner.recv(&mut buffer, libc::MSG_TRUNC) {
            Ok(length) if length > RECEIVE_BYTES => return Err(Error::malformed("answer too long")),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(Error::Timeout),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(Vec::new()),
            Err(e) => return Err(Error::Socket(e)),
        }
        let mut messages = Vec::new();
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let message = Message::read(rest).ok_or_else(|| Error::malformed("answer cut short"))?;
            rest = rest.get((HEADER + message.body.len()).next_multiple_of(4)..).unwrap_or_default();
            messages.push(message);
        }
        Ok(messages)
    }
}

#[derive(Debug)]
struct Message {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
}

enum Outcome {
    Done,
    Failed(Error),
    Reply(Reply),
}

impl Message {
    fn read(buffer: &[u8]) -> Option<Self> {
        let length = read_u32(buffer, 0)? as usize;
        Some(Self {
            kind: u16::from_ne_bytes(buffer.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(buffer.get(6..8)?.try_into().ok()?),
            sequence: read_u32(buffer, 8)?,
            body: buffer.get(HEADER..length)?.to_vec(),
        })
    }

    fn outcome(self) -> Result<Outcome, Error> {
        if self.kind != NLMSG_ERROR && self.kind != NLMSG_DONE {
            return Ok(Outcome::Reply(Reply { kind: self.kind, body: self.body }));
        }
        // The end of a dump carries an error number too, but some kernels leave it out.
        let code = match read_u32(&self.body, 0) {
            Some(code) => code.cast_signed(),
            None if self.kind == NLMSG_DONE => 0,
            None => return Err(Error::malformed("error message cut short")),
        };
        if code >= 0 {
            return Ok(Outcome::Done);
        }
        let errno = Errno::from_raw(code.saturating_neg());
        Ok(Outcome::Failed(Error::Kernel { errno, words: self.words() }))
    }

    /// The kernel's own words: they follow the copy of the request, of which only the header is there if capped.
    fn words(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let start = match self.kind {
            NLMSG_DONE => 4,
            _ if self.flags & NLM_F_CAPPED != 0 => 4 + HEADER,
            _ => 4 + (read_u32(&self.body, 4)? as usize).next_multiple_of(4),
        };
        let (_, words) =
            read_attributes(self.body.get(start..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?;
        Some(String::from_utf8_lossy(words).trim_end_matches('\0').to_owned())
    }
}

fn read_u32(buffer: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(buffer.get(at..at + 4)?.try_into().ok()?))
}
