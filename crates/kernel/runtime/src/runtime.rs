//! The daemon's side: containers are made, asked and observed through their state directories and shims.

use crate::cgroup::Cgroup;
use crate::failure::EXIT_NOT_MADE;
use crate::shim_process::{self, memory_file, shim_error};
use crate::state_dir::{Birth, Life, StateDir};
use crate::wire::{Reply, Request, receive, send};
use crate::{
    AttachSpec, Attachment, ContainerInfo, ContainerSpec, Error, ExecControl, ExecProcess, ExecSpec,
    ExecStdio, Limits, clock, seal, teardown,
};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::pipe::{PipeFlags, pipe_with};
use shoal_model::assignment::ContainerState;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Longest time for a shim to answer: it waits for a command to be executed, or for libcontainer.
const ANSWER: Duration = Duration::from_secs(65);
/// Longest time for the freezer, and for the processes of a dead shim's container to die.
const SETTLE: Duration = Duration::from_secs(10);
/// Prefix of directories that are not containers yet.
const UNFINISHED: &str = ".new-";
/// Prefix of directories that are no containers any more: nothing is mounted in them and nobody lives in them.
pub(crate) const FINISHED: &str = ".old-";

/// Where the runtime keeps things.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// `<exec-root>/containers`: a directory per container with its socket, bundle and state.
    pub state_root: PathBuf,
    /// The cgroup under which each container gets one, such as `/shoal` or `/shoal-lab-x/host`.
    pub cgroup_parent: String,
    /// The binary that is the shim when its first argument is `shim`; normally `/proc/self/exe`.
    pub shim_executable: PathBuf,
}

/// The containers of one daemon. Cheap to clone; every call blocks, most for milliseconds, and has a deadline.
#[derive(Debug, Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RuntimeConfig,
    /// Made at the first container.
    sealed: OnceLock<OwnedFd>,
    /// Containers that this process is making: not observed until they are made.
    making: Mutex<BTreeSet<String>>,
}

impl Runtime {
    /// Uses (and makes) the state root.
    pub fn new(config: RuntimeConfig) -> Result<Self, Error> {
        let root = &config.state_root;
        let fail = |action| move |source| Error::Io { action, path: root.clone(), source };
        fs::create_dir_all(root).map_err(fail("make"))?;
        let entries = fs::read_dir(root).map_err(fail("list"))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(UNFINISHED) || name.starts_with(FINISHED) {
                fs::remove_dir_all(entry.path()).map_err(fail("clear"))?;
            }
        }
        let shared = Shared { config, sealed: OnceLock::new(), making: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Starts a shim that makes the container; its process waits to be started. On error nothing is left.
    pub fn create(&self, spec: &ContainerSpec) -> Result<(), Error> {
        check(spec)?;
        let _making = Making::begin(&self.shared.making, &spec.id)?;
        let directory = self.found(spec)?;
        let made = self.sealed().and_then(|sealed| shim_process::start(sealed, &directory, spec));
        if made.is_err() {
            // The first error is the one to tell; what could not be removed is found by `list`.
            let _ = teardown::remove(&directory);
        }
        made
    }

    /// Starts a created container: returns when its command has been executed.
    pub fn start(&self, id: &str) -> Result<(), Error> {
        self.request(id, &Request::Start)
    }

    /// One container as it is now.
    pub fn state(&self, id: &str) -> Result<Option<ContainerInfo>, Error> {
        if self.making().contains(id) {
            return Ok(None);
        }
        observe(&self.directory(id)?)
    }

    /// Every container of the state root as it is now. One whose shim is dead is ended and reported as exited.
    pub fn list(&self) -> Result<Vec<ContainerInfo>, Error> {
        let root = &self.shared.config.state_root;
        let fail = |source| Error::Io { action: "list", path: root.clone(), source };
        let mut all = Vec::new();
        for entry in fs::read_dir(root).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
            if is_id(&name)
                && let Some(info) = self.state(&name)?
            {
                all.push(info);
            }
        }
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(all)
    }

    /// Sends a signal to its first process. SIGKILL thaws it, since the frozen do not die.
    pub fn signal(&self, id: &str, signal: i32) -> Result<(), Error> {
        self.request(id, &Request::Signal { signal })?;
        if signal == libc::SIGKILL {
            let cgroup = self.cgroup(id)?;
            if cgroup.is_frozen() {
                cgroup.freeze(false, Instant::now() + SETTLE)?;
            }
        }
        Ok(())
    }

    /// Freezes every process of it.
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        self.running(id)?.freeze(true, Instant::now() + SETTLE)
    }

    /// Thaws it.
    pub fn unpause(&self, id: &str) -> Result<(), Error> {
        self.running(id)?.freeze(false, Instant::now() + SETTLE)
    }

    /// Changes its limits; absent ones stay as they are.
    pub fn update(&self, id: &str, limits: &Limits) -> Result<(), Error> {
        self.cgroup(id)?.set_limits(limits)
    }

    /// The host's process ids of all its processes.
    pub fn processes(&self, id: &str) -> Result<Vec<u32>, Error> {
        Ok(self.running(id)?.processes())
    }

    /// Removes all that [`Runtime::create`] made: mounts, cgroup, state directory. The container must have ended or never
    /// been started. Idempotent. The log and the overlay's own directories are the caller's.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let directory = self.directory(id)?;
        let _making = Making::wait(&self.shared.making, id)?;
        match observe(&directory)?.map(|info| info.state) {
            Some(ContainerState::Running { .. }) => Err(Error::Running(id.to_owned())),
            Some(_) => teardown::remove(&directory),
            None => Ok(()),
        }
    }

    /// Removes the parent cgroup if it is empty: the last step of a daemon that leaves nothing behind.
    pub fn remove_cgroup_parent(&self) -> Result<(), Error> {
        let mut path = PathBuf::from(&self.shared.config.cgroup_parent);
        while path.file_name().is_some() {
            Cgroup::at(&path.to_string_lossy()).remove_if_empty()?;
            path.pop();
        }
        Ok(())
    }

    /// Starts a process in a running container: returns when its command has been executed.
    pub fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecProcess, Error> {
        let directory = self.directory(id)?;
        let streams = exec_streams(spec);
        let (ours, theirs) = streams.map_err(|e| shim_error(&directory, format!("cannot be asked: {e}")))?;
        let (pid, socket, received) = self.start_exec(&directory, spec, &theirs, false)?;
        let mut terminal = Weak::new();
        let stdio = match (ours, received.into_iter().next()) {
            (Some(pipes), _) => pipes,
            (None, Some(master)) => {
                let master = Arc::new(master);
                terminal = Arc::downgrade(&master);
                ExecStdio::Terminal(master)
            }
            (None, None) => return Err(shim_error(&directory, "sent no terminal".into())),
        };
        Ok(ExecProcess { stdio, control: ExecControl::new(pid, socket, terminal) })
    }

    /// The same for a process that nobody listens to: its streams are `/dev/null`, or a terminal that the shim reads, so
    /// that neither the end of the caller nor its absence reaches the process.
    pub fn exec_detached(&self, id: &str, spec: &ExecSpec) -> Result<ExecControl, Error> {
        let directory = self.directory(id)?;
        let streams = if spec.terminal { 0 } else { 3 };
        let theirs: std::io::Result<Vec<OwnedFd>> = (0..streams).map(|_| null(OFlags::RDWR)).collect();
        let theirs = theirs.map_err(|e| shim_error(&directory, format!("cannot be asked: {e}")))?;
        let (pid, socket, received) = self.start_exec(&directory, spec, &theirs, true)?;
        drop(received);
        Ok(ExecControl::new(pid, socket, Weak::new()))
    }

    /// Gives the process's id, the connection that tells of its end, and the terminal's master if it has one.
    fn start_exec(
        &self,
        directory: &StateDir,
        spec: &ExecSpec,
        theirs: &[OwnedFd],
        drain: bool,
    ) -> Result<(u32, OwnedFd, Vec<OwnedFd>), Error> {
        let fail = |e: std::io::Error| shim_error(directory, format!("cannot be asked: {e}"));
        let bytes = serde_json::to_vec(spec).map_err(|e| fail(e.into()))?;
        let specification = memory_file(&bytes).map_err(fail)?;
        let mut descriptors = vec![specification.as_fd()];
        descriptors.extend(theirs.iter().map(AsFd::as_fd));
        let socket = self.connect(&directory.id())?;
        let (reply, received) = ask(directory, &socket, &Request::Exec { drain }, &descriptors)?;
        let Reply::Executed { pid } = reply else {
            return Err(shim_error(directory, "gave another answer than was asked for".into()));
        };
        set_socket_timeout(&socket, Timeout::Recv, None).map_err(|e| fail(e.into()))?;
        Ok((pid, socket, received))
    }

    /// Attaches to its streams, from its creation on.
    pub fn attach(&self, id: &str, spec: &AttachSpec) -> Result<Attachment, Error> {
        let directory = self.directory(id)?;
        let fail = |e: std::io::Error| shim_error(&directory, format!("cannot be asked: {e}"));
        let output = |is_wanted: bool| is_wanted.then(output_pipe).transpose().map_err(fail);
        let (stdout, their_stdout) = output(spec.stdout)?.unzip();
        let (stderr, their_stderr) = output(spec.stderr)?.unzip();
        let theirs: Vec<OwnedFd> = their_stdout.into_iter().chain(their_stderr).collect();
        let descriptors: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let request = Request::Attach { stdin: spec.stdin, stdout: spec.stdout, stderr: spec.stderr };
        let (_, received) = ask(&directory, &self.connect(id)?, &request, &descriptors)?;
        Ok(Attachment { stdin: received.into_iter().next(), stdout, stderr })
    }

    /// Sets the size of its terminal. Nothing happens without one.
    pub fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<(), Error> {
        self.request(id, &Request::Resize { rows, columns })
    }

    /// A descriptor that becomes readable at the container's next change of state (at once if it has ended). Take it
    /// first, then read the state; take a new one after each change.
    pub fn wait_fd(&self, id: &str) -> Result<OwnedFd, Error> {
        let directory = self.directory(id)?;
        let fail = |e: std::io::Error| shim_error(&directory, format!("cannot be watched: {e}"));
        let watched = self.connect(id).and_then(|socket| {
            send(&socket, &Request::Watch, &[]).map_err(fail)?;
            Ok(socket)
        });
        match watched {
            Ok(socket) => Ok(socket),
            // Nobody is there, or he has just gone: readable at once.
            Err(Error::NotRunning(_) | Error::Shim { .. }) => {
                pipe_with(PipeFlags::CLOEXEC).map(|(read, _)| read).map_err(|e| fail(e.into()))
            }
            Err(e) => Err(e),
        }
    }

    /// Where the container's own processes can be measured: its directory in the hierarchy of a cgroup controller
    /// (`memory`, `cpuacct`, …; on a unified system always the one directory). None if the kernel has none.
    pub fn cgroup_directory(&self, id: &str, controller: &str) -> Result<Option<PathBuf>, Error> {
        Ok(self.cgroup(id)?.directory(controller))
    }

    fn making(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.shared.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sealed(&self) -> Result<&OwnedFd, Error> {
        if let Some(sealed) = self.shared.sealed.get() {
            return Ok(sealed);
        }
        // Two threads may both make one: the second is dropped.
        let sealed = seal::sealed_copy(&self.shared.config.shim_executable)?;
        Ok(self.shared.sealed.get_or_init(|| sealed))
    }

    fn directory(&self, id: &str) -> Result<StateDir, Error> {
        if is_id(id) {
            Ok(StateDir::at(self.shared.config.state_root.join(id)))
        } else {
            Err(Error::NotFound(id.to_owned()))
        }
    }

    /// Makes the state directory: it appears with its specification in it, or not at all.
    fn found(&self, spec: &ContainerSpec) -> Result<StateDir, Error> {
        let root = &self.shared.config.state_root;
        let directory = StateDir::at(root.join(&spec.id));
        let unfinished = StateDir::at(root.join(format!("{UNFINISHED}{}", spec.id)));
        let fail = |action| {
            let path = directory.path().to_owned();
            move |source| Error::Io { action, path, source }
        };
        fs::create_dir(unfinished.path()).map_err(fail("make"))?;
        let mut kept = spec.clone();
        kept.files.iter_mut().for_each(|file| file.content.clear());
        let cgroup = format!("{}/{}", self.shared.config.cgroup_parent.trim_end_matches('/'), spec.id);
        unfinished.write_birth(&Birth { spec: kept, created_at: clock::now(), cgroup })?;
        match fs::rename(unfinished.path(), directory.path()) {
            Ok(()) => Ok(directory),
            Err(e) => {
                fs::remove_dir_all(unfinished.path()).map_err(fail("clear"))?;
                match e.kind() {
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
                        Err(Error::Exists(spec.id.clone()))
                    }
                    _ => Err(fail("make")(e)),
                }
            }
        }
    }

    fn cgroup(&self, id: &str) -> Result<Cgroup, Error> {
        let birth = self.directory(id)?.birth()?.ok_or_else(|| Error::NotFound(id.to_owned()))?;
        Ok(Cgroup::at(&birth.cgroup))
    }

    fn running(&self, id: &str) -> Result<Cgroup, Error> {
        match self.state(id)?.map(|info| info.state) {
            Some(ContainerState::Running { .. }) => self.cgroup(id),
            Some(_) => Err(Error::NotRunning(id.to_owned())),
            None => Err(Error::NotFound(id.to_owned())),
        }
    }

    fn connect(&self, id: &str) -> Result<OwnedFd, Error> {
        let directory = self.directory(id)?;
        let socket = directory.connect().map_err(|e| match e.kind() {
            ErrorKind::NotFound if !directory.path().exists() => Error::NotFound(id.to_owned()),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NotRunning(id.to_owned()),
            _ => shim_error(&directory, format!("cannot be reached: {e}")),
        })?;
        for direction in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, direction, Some(ANSWER))
                .map_err(|e| shim_error(&directory, format!("cannot be timed: {e}")))?;
        }
        Ok(socket)
    }

    fn request(&self, id: &str, request: &Request) -> Result<(), Error> {
        ask(&self.directory(id)?, &self.connect(id)?, request, &[]).map(|_| ())
    }
}

/// Marks a container as being made or removed for as long as this lives, so that it is not observed half done.
struct Making<'a> {
    all: &'a Mutex<BTreeSet<String>>,
    id: String,
}

impl<'a> Making<'a> {
    fn begin(all: &'a Mutex<BTreeSet<String>>, id: &str) -> Result<Self, Error> {
        if all.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned()) {
            Ok(Self { all, id: id.to_owned() })
        } else {
            Err(Error::Exists(id.to_owned()))
        }
    }

    /// The same once whoever makes or removes it now is done.
    fn wait(all: &'a Mutex<BTreeSet<String>>, id: &str) -> Result<Self, Error> {
        let deadline = Instant::now() + ANSWER;
        loop {
            match Self::begin(all, id) {
                Err(Error::Exists(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Error::Exists(_)) => {
                    return Err(Error::Timeout(format!("what is done with container {id}")));
                }
                other => return other,
            }
        }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn check(spec: &ContainerSpec) -> Result<(), Error> {
    if !is_id(&spec.id) {
        return Err(Error::InvalidSpec(format!(
            "{:?} is not a container id: 64 characters of 0-9a-f are needed",
            spec.id
        )));
    }
    if !spec.log_path.is_absolute() {
        return Err(Error::InvalidSpec(format!(
            "the log's path {} is not absolute",
            spec.log_path.display()
        )));
    }
    Ok(())
}

/// A container as it is now.
fn observe(directory: &StateDir) -> Result<Option<ContainerInfo>, Error> {
    let Some(birth) = directory.birth()? else { return Ok(None) };
    let Some(life) = life(directory, &birth)? else { return Ok(None) };
    let is_running = matches!(life.state, ContainerState::Running { .. });
    Ok(Some(ContainerInfo {
        id: birth.spec.id,
        annotations: birth.spec.annotations,
        paused: is_running && Cgroup::at(&birth.cgroup).is_frozen(),
        state: life.state,
        created_at: birth.created_at,
        started_at: life.started_at,
        pid: life.pid,
        log_path: birth.spec.log_path,
        terminal: birth.spec.terminal,
        rootfs: directory.rootfs(),
        error: life.error,
    }))
}

/// What has become of a container. A shim that died without a word is concluded here.
fn life(directory: &StateDir, birth: &Birth) -> Result<Option<Life>, Error> {
    let is_over = |life: &Life| matches!(life.state, ContainerState::Exited { .. });
    let written = directory.life()?;
    if written.as_ref().is_some_and(is_over) {
        return Ok(written);
    }
    if directory.shim().is_some() {
        // Without a state it is being made, by a shim whose daemon has gone.
        return Ok(written);
    }
    // It may have written its last state after the first look and before it let go of the lock.
    match directory.life()? {
        Some(life) if is_over(&life) => Ok(Some(life)),
        other => conclude(directory, birth, other).map(Some),
    }
}

fn conclude(directory: &StateDir, birth: &Birth, last: Option<Life>) -> Result<Life, Error> {
    let cgroup = Cgroup::at(&birth.cgroup);
    cgroup.kill_all(Instant::now() + SETTLE)?;
    let code = if last.is_some() { 128 + libc::SIGKILL } else { EXIT_NOT_MADE };
    let life = Life {
        state: ContainerState::Exited { code, finished_at: clock::now(), out_of_memory: false },
        started_at: last.and_then(|l| l.started_at),
        pid: None,
        error: Some("the container's shim has died".into()),
    };
    directory.write_life(&life)?;
    Ok(life)
}

/// Asks a shim and hears its answer.
fn ask(
    directory: &StateDir,
    socket: &OwnedFd,
    request: &Request,
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> Result<(Reply, Vec<OwnedFd>), Error> {
    let id = directory.id();
    // A shim that goes while it is asked has seen its container's end.
    let gone = |e: &std::io::Error| matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET));
    match send(socket, request, descriptors) {
        Ok(()) => {}
        Err(e) if gone(&e) => return Err(Error::NotRunning(id)),
        Err(e) => return Err(shim_error(directory, format!("cannot be asked: {e}"))),
    }
    match receive::<Reply>(socket) {
        Ok(Some((Reply::Failed(failure), _))) => Err(failure.into_error(&id)),
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Error::NotRunning(id)),
        Err(e) if gone(&e) => Err(Error::NotRunning(id)),
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            Err(Error::Timeout(format!("the shim of container {id}")))
        }
        Err(e) => Err(shim_error(directory, format!("cannot be understood: {e}"))),
    }
}

/// A pipe whose reading end does not block.
fn output_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

fn null(access: OFlags) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())?)
}

/// Our ends and the process's ends of an exec's streams; none of either with a terminal.
fn exec_streams(spec: &ExecSpec) -> std::io::Result<(Option<ExecStdio>, Vec<OwnedFd>)> {
    if spec.terminal {
        return Ok((None, Vec::new()));
    }
    let (stdin, their_stdin) = if spec.attach_stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        (Some(write), read)
    } else {
        (None, null(OFlags::RDONLY)?)
    };
    let (stdout, their_stdout) = output_pipe()?;
    let (stderr, their_stderr) = output_pipe()?;
    let ours = ExecStdio::Pipes { stdin, stdout, stderr };
    Ok((Some(ours), vec![their_stdin, their_stdout, their_stderr]))
}
