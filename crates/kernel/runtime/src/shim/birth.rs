//! Making a container: file systems, configuration, streams, log, process; up to the point where it waits to be started.

use super::launch::{Job, Launch, Launched, Streams, launch};
use super::output::Output;
use super::user::Accounts;
use super::{oci, rootfs};
use crate::clock;
use crate::failure::Failure;
use crate::logs::Stream;
use crate::spec::ContainerSpec;
use crate::state_dir::{Life, StateDir};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use shoal_model::Timestamp;
use shoal_model::assignment::ContainerState;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Longest time for libcontainer to make a container or a process in it.
pub(super) const LAUNCH_SECONDS: i64 = 60;

/// A container that waits to be started.
#[derive(Debug)]
pub(super) struct Born {
    /// What was asked for, without the content of files.
    pub(super) spec: ContainerSpec,
    pub(super) config: Value,
    pub(super) pid: Pid,
    /// Ends when the command has been executed.
    pub(super) status: OwnedFd,
    /// The container's input, to write to.
    pub(super) stdin: Option<OwnedFd>,
    /// The terminal's master.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) output: Output,
    pub(super) listener: OwnedFd,
    /// Readable when a child has ended.
    pub(super) children: SignalFd,
}

/// Makes the container.
pub(super) fn make(directory: &StateDir, mut spec: ContainerSpec) -> Result<Born, Failure> {
    let birth = directory.birth().map_err(|e| Failure::refused(crate::error::chain(&e)))?;
    let cgroup = birth.ok_or_else(|| Failure::invalid("the state directory holds no specification"))?.cgroup;
    rootfs::mount_overlay(directory, &spec.rootfs)?;
    let files = rootfs::write_files(directory, &spec.files)?;
    if !spec.cwd.is_empty() {
        rootfs::make_working_directory(directory, &spec.cwd)?;
    }
    let identity = Accounts::read(&directory.rootfs()).resolve(&spec.user, &spec.groups)?;
    let root = directory.rootfs();
    let facts =
        oci::Facts { spec: &spec, identity: &identity, rootfs: &root, cgroup: &cgroup, files: &files };
    let config = oci::config(&facts)?;
    write_bundle(&directory.bundle(), &config)?;
    spec.files.clear();
    let log = open_log(&spec.log_path)?;
    let children = watch_children()?;
    let ends = Ends::make(&spec)?;
    let root = directory.libcontainer();
    fs::create_dir_all(&root).map_err(|e| Failure::io("make", &root, &e))?;
    let job = Job::First { bundle: directory.bundle(), has_init: spec.init };
    let launch = launch(&root, &directory.id(), job, ends.theirs)?;
    let launched = wait(launch)?;
    let output = match &launched.terminal {
        Some(master) => Output::new(log, vec![(Stream::Stdout, duplicate(master)?)]),
        None => Output::new(log, ends.outputs),
    };
    let listener = directory.listen().map_err(|e| Failure::io("listen in", directory.path(), &e))?;
    let life = Life {
        state: ContainerState::Created,
        started_at: None,
        pid: u32::try_from(launched.pid.as_raw()).ok(),
        error: None,
    };
    directory.write_life(&life).map_err(|e| Failure::refused(crate::error::chain(&e)))?;
    Ok(Born {
        spec,
        config,
        pid: launched.pid,
        status: launched.status,
        stdin: ends.stdin,
        terminal: launched.terminal,
        output,
        listener,
        children,
    })
}

/// Sets a terminal's size. A terminal whose other side is gone cannot have one, which is no error.
pub(super) fn set_size(master: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = tcsetwinsize(master, size);
}

pub(super) fn duplicate(descriptor: &OwnedFd) -> Result<OwnedFd, Failure> {
    descriptor.try_clone().map_err(|e| Failure::refused(format!("dup: {e}")))
}

/// The moment for records.
pub(super) fn now() -> Timestamp {
    clock::now()
}

fn write_bundle(bundle: &Path, config: &Value) -> Result<(), Failure> {
    let path = bundle.join("config.json");
    fs::create_dir_all(bundle).map_err(|e| Failure::io("make", bundle, &e))?;
    fs::write(&path, config.to_string()).map_err(|e| Failure::io("write", &path, &e))
}

fn open_log(path: &Path) -> Result<File, Failure> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|e| Failure::io("make", directory, &e))?;
    }
    let opened = File::options().create(true).append(true).mode(0o640).open(path);
    opened.map_err(|e| Failure::io("open", path, &e))
}

/// Tells of children's ends through a descriptor. Their first processes unblock the signal again.
fn watch_children() -> Result<SignalFd, Failure> {
    let fail = |e: nix::errno::Errno| Failure::refused(format!("watch for children: {e}"));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().map_err(fail)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(fail)
}

fn wait(launch: Launch) -> Result<Launched, Failure> {
    let patience = Timespec { tv_sec: LAUNCH_SECONDS, tv_nsec: 0 };
    let outcome = rustix::io::retry_on_intr(|| {
        poll(&mut [PollFd::new(&launch.descriptor(), PollFlags::IN)], Some(&patience))
    });
    match outcome {
        Ok(0) => Err(Failure::refused("libcontainer did not make the container in time")),
        Ok(_) => launch.finish(),
        Err(e) => Err(Failure::refused(format!("wait for libcontainer: {e}"))),
    }
}

/// The two sides of the container's streams.
struct Ends {
    /// None with a terminal, which libcontainer makes.
    theirs: Option<Streams>,
    stdin: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

impl Ends {
    fn make(spec: &ContainerSpec) -> Result<Self, Failure> {
        let fail = |e: rustix::io::Errno| Failure::refused(format!("make the container's streams: {e}"));
        if spec.terminal {
            return Ok(Self { theirs: None, stdin: None, outputs: Vec::new() });
        }
        let (our_stdin, their_stdin) = if spec.open_stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
            rustix::io::ioctl_fionbio(&write, true).map_err(fail)?;
            (Some(write), read)
        } else {
            let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            (None, null.map_err(fail)?)
        };
        let output = || {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&read, true)?;
            Ok((read, write))
        };
        let (stdout, their_stdout) = output().map_err(fail)?;
        let (stderr, their_stderr) = output().map_err(fail)?;
        Ok(Self {
            theirs: Some(Streams { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr }),
            stdin: our_stdin,
            outputs: vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)],
        })
    }
}
