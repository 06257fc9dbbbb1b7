//! The shim's loop: one thread, one poll, until the container has ended and its output is written.

use super::birth::{Born, LAUNCH_SECONDS, duplicate, now, set_size};
use super::launch;
use super::output::{Output, Wait};
use super::session::{Host, Session, Stage};
use crate::cgroup::Cgroup;
use crate::failure::{EXIT_NOT_MADE, Failure, FailureKind};
use crate::logs::Stream;
use crate::spec::ContainerSpec;
use crate::state_dir::{Life, StateDir};
use crate::wire::{Reply, Request, receive, send};
use libcontainer::container::Container;
use nix::errno::Errno;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};
use serde_json::Value;
use shoal_model::Timestamp;
use shoal_model::assignment::ContainerState;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long output may still come after the container has ended (moby waits as long for its streams).
const DRAIN: Duration = Duration::from_secs(3);
/// How long the command may take to be executed once the container is told to start.
const START: Duration = Duration::from_secs(30);

/// Serves until the container is over.
pub(super) fn serve(directory: &StateDir, born: Born) -> Result<(), Failure> {
    let cgroup = directory.birth().ok().flatten().map(|b| Cgroup::at(&b.cgroup));
    let mut shim = Shim {
        directory,
        spec: born.spec,
        config: born.config,
        first: born.pid,
        status: Some(born.status),
        stdin: born.stdin,
        terminal: born.terminal,
        output: born.output,
        listener: born.listener,
        children: born.children,
        cgroup,
        started_at: None,
        error: None,
        end: None,
        clients: BTreeMap::new(),
        sessions: BTreeMap::new(),
        unclaimed: BTreeMap::new(),
        next: 0,
    };
    while !shim.is_over() {
        let ready = shim.wait()?;
        shim.handle(ready);
    }
    shim.conclude()
}

/// How the container ended.
#[derive(Debug, Clone, Copy)]
struct End {
    code: i32,
    at: Timestamp,
    /// Output that comes later is not waited for.
    drain_until: Instant,
}

struct Shim<'a> {
    directory: &'a StateDir,
    spec: ContainerSpec,
    config: Value,
    first: Pid,
    /// There until the container is started.
    status: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    output: Output,
    listener: OwnedFd,
    children: SignalFd,
    cgroup: Option<Cgroup>,
    started_at: Option<Timestamp>,
    error: Option<Failure>,
    end: Option<End>,
    clients: BTreeMap<u64, Client>,
    sessions: BTreeMap<u64, Session>,
    /// Ends of children that are not known yet: a process can end before libcontainer has told of it.
    unclaimed: BTreeMap<Pid, i32>,
    next: u64,
}

/// A connection that is not an exec's.
struct Client {
    socket: OwnedFd,
    is_watching: bool,
}

/// What the loop woke up for.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Child,
    Listener,
    Output(Wait, PollFlags),
    Client(u64),
    /// An exec's connection.
    Session(u64),
    /// libcontainer's outcome for an exec.
    Launch(u64),
    /// A terminal that nobody else reads.
    Drain(u64),
}

impl Shim<'_> {
    fn is_over(&self) -> bool {
        let Some(end) = self.end else { return false };
        let is_drained = self.output.is_finished() && !self.output.is_pending() && self.sessions.is_empty();
        is_drained || Instant::now() >= end.drain_until
    }

    /// Waits until something is ready.
    fn wait(&self) -> Result<Vec<Ready>, Failure> {
        let mut tokens = vec![Ready::Child, Ready::Listener];
        let mut descriptors = vec![
            PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        for (wait, descriptor, is_behind) in self.output.waits() {
            let events = match (wait, is_behind) {
                (Wait::Source(_), _) => PollFlags::IN,
                (Wait::Sink(_), true) => PollFlags::OUT,
                (Wait::Sink(_), false) => PollFlags::empty(),
            };
            tokens.push(Ready::Output(wait, PollFlags::empty()));
            descriptors.push(PollFd::from_borrowed_fd(descriptor, events));
        }
        for (key, client) in &self.clients {
            tokens.push(Ready::Client(*key));
            descriptors.push(PollFd::new(&client.socket, PollFlags::IN));
        }
        for (key, session) in &self.sessions {
            if let Some(client) = &session.client {
                tokens.push(Ready::Session(*key));
                descriptors.push(PollFd::new(client, PollFlags::IN));
            }
            if let Stage::Starting { launch, .. } = &session.stage {
                tokens.push(Ready::Launch(*key));
                descriptors.push(PollFd::from_borrowed_fd(launch.descriptor(), PollFlags::IN));
            }
            if let Some(master) = &session.drained {
                tokens.push(Ready::Drain(*key));
                descriptors.push(PollFd::new(master, PollFlags::IN));
            }
        }
        let patience = self.patience();
        match poll(&mut descriptors, patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failure::refused(format!("poll: {e}"))),
        }
        let with_events = tokens.into_iter().zip(&descriptors).filter(|(_, d)| !d.revents().is_empty());
        Ok(with_events
            .map(|(token, d)| match token {
                Ready::Output(wait, _) => Ready::Output(wait, d.revents()),
                other => other,
            })
            .collect())
    }

    /// Time until the next deadline.
    fn patience(&self) -> Option<Timespec> {
        let starts = self.sessions.values().filter_map(|s| match &s.stage {
            Stage::Starting { deadline, .. } => Some(*deadline),
            _ => None,
        });
        let next = starts.chain(self.end.map(|e| e.drain_until)).min()?;
        // A millisecond more, so that the deadline has passed when the loop wakes.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec::try_from(left).ok()
    }

    fn handle(&mut self, ready: Vec<Ready>) {
        for one in ready {
            match one {
                Ready::Output(Wait::Source(stream), _) => {
                    self.output.read(stream);
                }
                Ready::Output(Wait::Sink(key), events)
                    if events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) =>
                {
                    self.output.drop_sink(key);
                }
                Ready::Output(Wait::Sink(_), _) => {}
                Ready::Listener => self.accept(),
                Ready::Client(key) => self.hear_client(key),
                Ready::Session(key) => self.hear_session(key),
                Ready::Launch(key) => self.finish_launch(key),
                Ready::Drain(key) => {
                    if let Some(session) = self.sessions.get_mut(&key) {
                        session.drain();
                    }
                }
                Ready::Child => self.drain_child_signals(),
            }
        }
        self.output.flush();
        self.reap();
        self.give_up_late_launches();
    }

    fn accept(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.clients.insert(self.next, Client { socket, is_watching: false });
            self.next += 1;
        }
    }

    fn hear_client(&mut self, key: u64) {
        let Some(client) = self.clients.get(&key) else { return };
        match receive::<Request>(&client.socket) {
            Ok(Some((Request::Watch, _))) => {
                if let Some(client) = self.clients.get_mut(&key) {
                    client.is_watching = true;
                }
            }
            Ok(Some((Request::Exec { drain }, descriptors))) => self.exec(key, descriptors, drain),
            Ok(Some((request, descriptors))) => {
                let (reply, descriptor) = match self.answer(&request, descriptors) {
                    Ok(descriptor) => (Reply::Done, descriptor),
                    Err(failure) => (Reply::Failed(failure), None),
                };
                self.reply(key, &reply, descriptor.as_ref());
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => {
                self.clients.remove(&key);
            }
        }
    }

    fn reply(&mut self, key: u64, reply: &Reply, descriptor: Option<&OwnedFd>) {
        if let Some(client) = self.clients.get(&key) {
            let descriptors: Vec<_> = descriptor.iter().map(|d| d.as_fd()).collect();
            // A client that does not take its answer has gone.
            let _ = send(&client.socket, reply, &descriptors);
        }
    }

    fn answer(&mut self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<Option<OwnedFd>, Failure> {
        if self.end.is_some() {
            return Err(not_running());
        }
        match request {
            Request::Start => self.start().map(|()| None),
            Request::Signal { signal } => self.signal(*signal).map(|()| None),
            Request::Resize { rows, columns } => {
                if let Some(master) = &self.terminal {
                    set_size(master, *rows, *columns);
                }
                Ok(None)
            }
            Request::Attach { stdin, stdout, stderr } => self.attach(*stdin, *stdout, *stderr, descriptors),
            Request::Exec { .. } | Request::Watch => Ok(None),
        }
    }

    fn start(&mut self) -> Result<(), Failure> {
        let Some(status) = self.status.take() else {
            return Err(Failure { kind: FailureKind::Started, ..not_running() });
        };
        let root = self.directory.libcontainer().join(self.directory.id());
        let fail = |e: &dyn std::error::Error| Failure::refused(crate::error::chain(e));
        Container::load(root).and_then(|mut c| c.start()).map_err(|e| fail(&e))?;
        if let Err(failure) = executed(status) {
            self.error = Some(failure.clone());
            return Err(failure);
        }
        self.started_at = Some(now());
        self.record(self.state())?;
        self.tell_watchers();
        Ok(())
    }

    fn signal(&self, signal: i32) -> Result<(), Failure> {
        // It is this process's child and not reaped yet, so the id is its own.
        // SAFETY: kill has no preconditions.
        match unsafe { libc::kill(self.first.as_raw(), signal) } {
            0 => Ok(()),
            _ => Err(Failure::invalid(format!("signal {signal}: {}", Errno::last().desc()))),
        }
    }

    fn attach(
        &mut self,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<OwnedFd>, Failure> {
        let mut pipes = descriptors.into_iter();
        let wanted = [(stdout, Stream::Stdout), (stderr, Stream::Stderr)];
        for (_, stream) in wanted.into_iter().filter(|(is_wanted, _)| *is_wanted) {
            let pipe = pipes.next().ok_or_else(|| Failure::invalid("an output needs a pipe"))?;
            self.output.attach(stream, pipe).map_err(|e| Failure::refused(format!("attach: {e}")))?;
        }
        if !stdin {
            return Ok(None);
        }
        if let Some(master) = &self.terminal {
            return self.spec.open_stdin.then(|| duplicate(master)).transpose();
        }
        if self.spec.stdin_once {
            return Ok(self.stdin.take());
        }
        self.stdin.as_ref().map(duplicate).transpose()
    }

    fn exec(&mut self, key: u64, descriptors: Vec<OwnedFd>, drain: bool) {
        let Some(client) = self.clients.remove(&key) else { return };
        if self.started_at.is_none() || self.end.is_some() {
            let _ = send(&client.socket, &Reply::Failed(not_running()), &[]);
            return;
        }
        let host = Host { directory: self.directory, spec: &self.spec, config: &self.config };
        let deadline = Instant::now() + Duration::from_secs(LAUNCH_SECONDS.unsigned_abs());
        match Session::start(&host, key, client.socket, descriptors, (drain, deadline)) {
            Ok(session) => {
                self.sessions.insert(key, session);
            }
            Err((socket, failure)) => {
                let _ = send(&socket, &Reply::Failed(failure), &[]);
            }
        }
    }

    fn finish_launch(&mut self, key: u64) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        match session.finish_start() {
            Some(Ok((pid, terminal))) => {
                session.tell(&Reply::Executed { pid: pid.as_raw().unsigned_abs() }, terminal.as_ref());
            }
            Some(Err(failure)) => {
                session.tell(&Reply::Failed(failure), None);
                self.sessions.remove(&key);
            }
            None => {}
        }
    }

    fn hear_session(&mut self, key: u64) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(client) = &session.client else { return };
        match receive::<Request>(client) {
            Ok(Some((Request::Signal { signal }, _))) => {
                if let Stage::Running(pid) = session.stage {
                    // It is this process's child and not reaped yet, so the id is its own.
                    // SAFETY: kill has no preconditions.
                    unsafe { libc::kill(pid.as_raw(), signal) };
                }
            }
            Ok(Some(_)) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => session.client = None,
        }
    }

    fn give_up_late_launches(&mut self) {
        let now = Instant::now();
        let is_late = |s: &Session| matches!(s.stage, Stage::Starting { deadline, .. } if deadline <= now);
        let late: Vec<u64> = self.sessions.iter().filter(|(_, s)| is_late(s)).map(|(k, _)| *k).collect();
        for key in late {
            if let Some(mut session) = self.sessions.remove(&key) {
                session.give_up();
                let failure = Failure::refused("the process could not be started in time");
                session.tell(&Reply::Failed(failure), None);
            }
        }
    }

    fn drain_child_signals(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
    }

    /// Takes every ended child.
    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.ended(pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        self.claim();
    }

    fn ended(&mut self, pid: Pid, code: i32) {
        if pid != self.first {
            self.unclaimed.insert(pid, code);
            return;
        }
        let code = self.error.as_ref().map_or(code, |failure| failure.exit_code);
        self.end = Some(End { code, at: now(), drain_until: Instant::now() + DRAIN });
        self.output.start_ending();
        self.stdin = None;
    }

    /// Tells sessions whose process has ended.
    fn claim(&mut self) {
        let mut over = Vec::new();
        for (key, session) in &self.sessions {
            if let Stage::Running(pid) = session.stage
                && let Some(code) = self.unclaimed.remove(&pid)
            {
                session.tell(&Reply::Ended { code }, None);
                over.push(*key);
            }
        }
        for key in over {
            self.sessions.remove(&key);
        }
        let is_starting = |s: &Session| matches!(s.stage, Stage::Starting { .. });
        if !self.sessions.values().any(is_starting) {
            // These belong to nobody: libcontainer's own processes, and processes whose start was given up.
            self.unclaimed.clear();
        }
    }

    fn state(&self) -> ContainerState {
        match (self.end, self.started_at) {
            (Some(end), _) => {
                let kills = self.cgroup.as_ref().map_or(0, Cgroup::out_of_memory_kills);
                let is_killed = end.code == 128 + libc::SIGKILL;
                ContainerState::Exited {
                    code: end.code,
                    finished_at: end.at,
                    out_of_memory: is_killed && kills > 0,
                }
            }
            (None, Some(started_at)) => {
                ContainerState::Running { pid: self.first.as_raw().unsigned_abs(), started_at }
            }
            (None, None) => ContainerState::Created,
        }
    }

    fn record(&self, state: ContainerState) -> Result<(), Failure> {
        let life = Life {
            state,
            started_at: self.started_at,
            pid: self.end.is_none().then_some(self.first.as_raw().unsigned_abs()),
            error: self.error.as_ref().map(|e| e.message.clone()),
        };
        self.directory.write_life(&life).map_err(|e| Failure::refused(crate::error::chain(&e)))
    }

    fn tell_watchers(&self) {
        for client in self.clients.values().filter(|c| c.is_watching) {
            let _ = send(&client.socket, &Reply::Changed, &[]);
        }
    }

    /// The container is over: everything is written, then everybody is told.
    fn conclude(mut self) -> Result<(), Failure> {
        self.output.close();
        let recorded = self.record(self.state());
        for session in self.sessions.values() {
            let code = 128 + libc::SIGKILL;
            let reply = match session.stage {
                Stage::Running(_) => Reply::Ended { code },
                Stage::Starting { .. } | Stage::Over => Reply::Failed(not_running()),
            };
            session.tell(&reply, None);
        }
        self.tell_watchers();
        recorded
    }
}

fn not_running() -> Failure {
    Failure { kind: FailureKind::NotRunning, message: "is not running".into(), exit_code: EXIT_NOT_MADE }
}

/// Waits until the started command has been executed.
fn executed(status: OwnedFd) -> Result<(), Failure> {
    let patience = Timespec::try_from(START).map_err(|e| Failure::refused(e.to_string()))?;
    let outcome =
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&status, PollFlags::IN)], Some(&patience)));
    if !matches!(outcome, Ok(1)) {
        return Err(Failure::refused("the command was not executed in time"));
    }
    if let Some(failure) = launch::reported(&status) {
        return Err(failure);
    }
    // Nothing reported means that the pipe has closed.
    let mut rest = Vec::new();
    let _ = File::from(status).take(1).read_to_end(&mut rest);
    Ok(())
}
