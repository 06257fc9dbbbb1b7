//! A client's end of a container's standard streams.

use std::os::fd::OwnedFd;

/// Which streams to attach to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttachSpec {
    /// Standard input (only if the container was made with it open, or with a terminal).
    pub stdin: bool,
    /// Standard output; with a terminal, all output.
    pub stdout: bool,
    /// Standard error; nothing with a terminal.
    pub stderr: bool,
}

/// Descriptors of a container's streams, all non-blocking. Output that is not read holds the container up once the pipe
/// and the kernel's buffers are full, as with Docker; dropping a descriptor detaches.
#[derive(Debug)]
pub struct Attachment {
    /// To write to. Closing it ends the container's input if it was made with `stdin_once`.
    pub stdin: Option<OwnedFd>,
    /// To read from, from now on; ends with the container.
    pub stdout: Option<OwnedFd>,
    /// To read from, from now on; ends with the container.
    pub stderr: Option<OwnedFd>,
}
