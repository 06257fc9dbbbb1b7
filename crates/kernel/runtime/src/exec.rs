//! A process that runs in a container beside its first one.

use crate::Error;
use crate::wire::{Reply, Request, receive, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Winsize, tcsetwinsize};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};
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
/// SIGHUP (terminal) as any Unix process does; for one that nobody listens to there is
/// [`crate::Runtime::exec_detached`].
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
    /// Weak, so that the terminal hangs up as soon as its streams are dropped.
    terminal: Weak<OwnedFd>,
    code: OnceLock<i32>,
}

/// What is reported for a process whose shim was killed, and the container with it.
const KILLED: i32 = 128 + libc::SIGKILL;

impl ExecControl {
    pub(crate) fn new(pid: u32, socket: OwnedFd, terminal: Weak<OwnedFd>) -> Self {
        Self { pid, socket, terminal, code: OnceLock::new() }
    }

    /// Its process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when the process has ended. Only wait on it: reading is for [`ExecControl::wait`].
    pub fn end_descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Its exit code (128 + n for signal n) once it has ended; waits at most `patience` for that.
    pub fn wait(&self, patience: Duration) -> Result<Option<i32>, Error> {
        if let Some(code) = self.code.get() {
            return Ok(Some(*code));
        }
        let fail = |e: std::io::Error| Error::Shim { id: self.pid.to_string(), what: format!("failed: {e}") };
        let patience = Timespec::try_from(patience).map_err(|e| fail(std::io::Error::other(e)))?;
        let waiting = [PollFd::new(&self.socket, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut waiting.clone(), Some(&patience)));
        if ready.map_err(|e| fail(e.into()))? == 0 {
            return Ok(None);
        }
        let code = match receive::<Reply>(&self.socket) {
            Ok(Some((Reply::Ended { code }, _))) => code,
            Ok(_) => KILLED,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => KILLED,
            Err(e) => return Err(fail(e)),
        };
        Ok(Some(*self.code.get_or_init(|| code)))
    }

    /// Sends it a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        match send(&self.socket, &Request::Signal { signal }, &[]) {
            Ok(()) => Ok(()),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => Ok(()),
            Err(e) => Err(Error::Shim { id: self.pid.to_string(), what: format!("cannot be asked: {e}") }),
        }
    }

    /// Sets the size of its terminal. Nothing happens without one, or when its streams were dropped.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        let Some(terminal) = self.terminal.upgrade() else { return Ok(()) };
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal.as_fd(), size).map_err(|e| Error::Refused(format!("resize the terminal: {e}")))
    }
}
