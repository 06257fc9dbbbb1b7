//! The protocol between the daemon and a shim: one JSON message a packet over a `SOCK_SEQPACKET` socket, with file
//! descriptors where needed. A connection carries one request; those of `Watch` and `Exec` stay open for what follows.

use crate::failure::Failure;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most descriptors that one message carries: an exec's specification and its three streams.
const MAX_DESCRIPTORS: usize = 4;
/// Longest message in bytes; long specifications travel in a memory file instead.
const MAX_MESSAGE: usize = 64 * 1024;

/// What the daemon asks of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start the container.
    Start,
    /// Send a signal: to the container's first process, or on an exec's connection to that process.
    Signal { signal: i32 },
    /// Set the size of the container's terminal.
    Resize { rows: u16, columns: u16 },
    /// Attach; carries a pipe's writing end for each output asked for. The reply carries the input's end.
    Attach { stdin: bool, stdout: bool, stderr: bool },
    /// Start a process; carries its specification in a memory file, then its three streams unless it has a terminal.
    /// `drain`: the shim itself reads the terminal and throws away what comes.
    Exec { drain: bool },
    /// Send [`Reply::Changed`] at the next change of state.
    Watch,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It is done.
    Done,
    /// It could not be done.
    Failed(Failure),
    /// The process runs; carries its terminal's master if it has one.
    Executed { pid: u32 },
    /// The process has ended.
    Ended { code: i32 },
    /// The container's state has changed.
    Changed,
}

/// A connected pair of sockets for messages of this module.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(Error::new(ErrorKind::InvalidInput, "message too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Error::new(ErrorKind::InvalidInput, "too many descriptors"));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message with its descriptors; none when the other side has closed.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Error::new(ErrorKind::InvalidData, "message cut off"));
    }
    let message = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
    Ok(Some((message, descriptors)))
}
