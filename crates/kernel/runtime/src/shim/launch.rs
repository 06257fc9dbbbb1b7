//! libcontainer at work, always in a child of the shim: it changes the process that calls it (its out-of-memory score,
//! whether it can be dumped) and takes its time. What it makes comes up as children of the shim.

use super::diagnosis;
use super::executor::CommandExecutor;
use crate::failure::Failure;
use crate::wire;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::unistd::{ForkResult, Pid, fork};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Standard streams for a process of the container; absent with a terminal.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What to launch.
#[derive(Debug)]
pub(super) enum Job {
    /// The container itself.
    First { bundle: PathBuf, has_init: bool },
    /// A process beside it, described by an OCI `process.json`.
    Further { process: PathBuf },
}

/// A launch under way.
#[derive(Debug)]
pub(super) struct Launch {
    /// The child that libcontainer works in.
    pub(super) worker: Pid,
    result: OwnedFd,
    /// Ends when the command has been executed; a [`Failure`] comes if it cannot be.
    pub(super) status: OwnedFd,
    diagnosis: OwnedFd,
    console: Option<OwnedFd>,
}

/// A launched process.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: Pid,
    pub(super) status: OwnedFd,
    /// The terminal's master, if it has one.
    pub(super) terminal: Option<OwnedFd>,
}

/// Starts a launch. `root` is libcontainer's directory, which holds one for the container with this `id`.
pub(super) fn launch(root: &Path, id: &str, job: Job, streams: Option<Streams>) -> Result<Launch, Failure> {
    let fail = |what: &'static str| move |e: std::io::Error| Failure::refused(format!("{what}: {e}"));
    // A packet rather than a stream: the made process holds this too until it executes its command, so that there would
    // be no end to read up to.
    let (result, result_end) = wire::pair().map_err(fail("socketpair"))?;
    let (status, status_end) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail("pipe")(e.into()))?;
    let (diagnosis, diagnosis_end) = diagnosis::pipe().map_err(fail("pipe"))?;
    let console_path = root.join("console.sock");
    let console = match &streams {
        Some(_) => None,
        None => Some(listen(root).map_err(fail("listen for the terminal"))?),
    };
    // SAFETY: this process has one thread, so the child may do whatever this process may.
    match unsafe { fork() }.map_err(|e| Failure::refused(format!("fork: {e}")))? {
        ForkResult::Parent { child } => Ok(Launch { worker: child, result, status, diagnosis, console }),
        ForkResult::Child => {
            diagnosis::listen(diagnosis_end);
            let console = streams.is_none().then_some(console_path);
            let outcome = build(root, id, job, streams, console, status_end.as_fd());
            // If the shim is gone there is nobody to tell.
            let _ = wire::send(&result_end, &outcome, &[]);
            // SAFETY: _exit has no preconditions; nothing that the shim registered for its own end may run here.
            unsafe { libc::_exit(0) }
        }
    }
}

fn listen(root: &Path) -> std::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let directory = crate::state_dir::StateDir::at(root.to_owned());
    let (_held, address) = directory.address("console.sock")?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// Runs in the worker.
fn build(
    root: &Path,
    id: &str,
    job: Job,
    streams: Option<Streams>,
    console: Option<PathBuf>,
    status: BorrowedFd<'_>,
) -> Result<i32, Failure> {
    let (is_first, has_init) = match &job {
        Job::First { has_init, .. } => (true, *has_init),
        Job::Further { .. } => (false, false),
    };
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_executor(CommandExecutor::new(status.as_raw_fd(), is_first, has_init))
        .with_console_socket(console)
        .with_root_path(root)
        .map_err(|e| failure(&e))?;
    if let Some(streams) = streams {
        builder = builder.with_stdin(streams.stdin).with_stdout(streams.stdout).with_stderr(streams.stderr);
    }
    match job {
        Job::First { bundle, .. } => {
            let builder = builder.as_init(bundle).with_systemd(false).with_detach(true).as_sibling(true);
            let container = builder.build().map_err(|e| failure(&e))?;
            let pid = container.pid().ok_or_else(|| Failure::refused("libcontainer gave no process id"))?;
            Ok(pid.as_raw())
        }
        Job::Further { process } => {
            let builder = builder.as_tenant().with_detach(true).as_sibling(true).with_process(Some(process));
            Ok(builder.build().map_err(|e| failure(&e))?.as_raw())
        }
    }
}

fn failure(error: &LibcontainerError) -> Failure {
    Failure::refused(crate::error::chain(error))
}

impl Launch {
    /// Readable when the outcome is there.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.result.as_fd()
    }

    /// The outcome, once the descriptor is readable.
    pub(super) fn finish(self) -> Result<Launched, Failure> {
        let outcome = match wire::receive::<Result<i32, Failure>>(&self.result) {
            Ok(Some((outcome, _))) => outcome,
            Ok(None) => Err(Failure::refused("libcontainer's process ended without an outcome")),
            Err(e) => Err(Failure::refused(format!("receive libcontainer's outcome: {e}"))),
        };
        match outcome {
            Ok(pid) => {
                let terminal = self.console.as_ref().map(receive_terminal).transpose()?;
                Ok(Launched { pid: Pid::from_raw(pid), status: self.status, terminal })
            }
            Err(general) => Err(explain(general, &self.status, &self.diagnosis)),
        }
    }
}

/// The best that is known about a failure: what the command's process reported, else what libcontainer logged.
fn explain(general: Failure, status: &OwnedFd, diagnosis: &OwnedFd) -> Failure {
    if let Some(reported) = reported(status) {
        return reported;
    }
    match diagnosis::cause(diagnosis) {
        Some(reason) if !general.message.contains(&reason) => {
            Failure { message: format!("{} ({reason})", general.message), ..general }
        }
        _ => general,
    }
}

/// The failure that a command's process has reported by now.
pub(super) fn reported(status: &OwnedFd) -> Option<Failure> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut [PollFd::new(status, PollFlags::IN)], Some(&now)).ok()? == 0 {
        return None;
    }
    let mut bytes = vec![0; 16 * 1024];
    let length = rustix::io::read(status, &mut bytes).ok()?;
    serde_json::from_slice(bytes.get(..length)?).ok()
}

/// Takes the terminal's master, which libcontainer has sent before it ended.
fn receive_terminal(listener: &OwnedFd) -> Result<OwnedFd, Failure> {
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, accept_with, recvmsg,
    };
    let fail = |e: rustix::io::Errno| Failure::refused(format!("receive the terminal: {e}"));
    rustix::io::ioctl_fionbio(listener, true).map_err(fail)?;
    let connection = accept_with(listener, SocketFlags::CLOEXEC).map_err(fail)?;
    let mut bytes = [0; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    recvmsg(&connection, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
        .map_err(fail)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message
            && let Some(master) = rights.next()
        {
            rustix::io::ioctl_fionbio(&master, true).map_err(fail)?;
            return Ok(master);
        }
    }
    Err(Failure::refused("no terminal was sent"))
}
