//! A host's daemon: started, waited for, stopped.

use crate::place::{HostPlace, Place};
use crate::process::Process;
use crate::record::{HostRecord, Record};
use crate::{api, cgroup};
use anyhow::{Context, anyhow, bail};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers.
const ANSWERS: Duration = Duration::from_mins(1);
/// How long a daemon may take to end in order.
const ENDS: Duration = Duration::from_mins(1);
/// Where the daemon's metrics are, within the host: Docker's usual port.
const METRICS: &str = "127.0.0.1:9323";
/// How much of the log an error shows.
const TAIL_LINES: usize = 25;

/// What a host is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its daemon runs.
    Running,
    /// Its daemon has ended, or was stopped.
    Stopped,
    /// It has no power.
    Off,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Off => "off",
        }
    }
}

pub(crate) fn state(place: &HostPlace) -> State {
    match Process::load(&place.process()) {
        Some(process) if process.runs() => State::Running,
        Some(_) => State::Stopped,
        None => State::Off,
    }
}

/// Starts the host's daemon in the host's namespace; does not wait until it answers.
pub(crate) fn start(lab: &Place, record: &Record, host: &HostRecord) -> anyhow::Result<()> {
    let place = lab.host(&host.name);
    for directory in [place.data(), place.exec()] {
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let path = place.log();
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("cannot open {}", path.display()))?;
    let mut command = Command::new(&record.program);
    command
        .arg("daemon")
        .arg("--host")
        .arg(format!("unix://{}", place.socket().display()))
        .arg("--data-root")
        .arg(place.data())
        .arg("--exec-root")
        .arg(place.exec())
        .arg("--pidfile")
        .arg(place.pidfile())
        .arg("--cgroup-parent")
        .arg(format!("/{}/containers", place.cgroup.display()))
        .args(["--metrics-addr", METRICS])
        .arg("--log-level")
        .arg(&record.log_level)
        .arg("--lb-engine")
        .arg(&record.lb_engine)
        .env_remove("DOCKER_HOST")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Keys pressed in this terminal are not meant for the daemon.
        .process_group(0);
    let mut child = spawn(lab, host, &mut command)?;
    // Its descendants inherit the cgroup, so it is put there before it can have any worth speaking of.
    let registered = cgroup::join(&place.cgroup.join("daemon"), child.id())
        .and_then(|()| Process::of(child.id())?.save(&place.process()));
    if registered.is_err() {
        // Nobody would find it again.
        let _ = child.kill();
    }
    registered.map_err(|error| with_log(&place, error))
}

/// Starts a process on a thread that stands in the host's network namespace and has the host's name.
fn spawn(lab: &Place, host: &HostRecord, command: &mut Command) -> anyhow::Result<Child> {
    shoal_host::in_namespace(Some(&lab.namespace(&host.name)), || {
        take_name(&host.name)?;
        command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
    })?
}

/// Gives the calling thread, and what it starts, a host name of its own.
pub(crate) fn take_name(name: &str) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWUTS).context("cannot make a UTS namespace")?;
    nix::unistd::sethostname(name).context("cannot set the host name")
}

/// Waits until the daemon answers.
pub(crate) fn wait_until_it_answers(place: &HostPlace, name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + ANSWERS;
    loop {
        let answer = api::get(&place.socket(), "/_ping");
        if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        if state(place) != State::Running {
            return Err(with_log(place, anyhow!("the daemon of {name} has ended")));
        }
        if Instant::now() > deadline {
            let last =
                answer.err().map_or_else(|| "it answers with an error".to_owned(), |e| format!("{e:#}"));
            return Err(with_log(place, anyhow!("the daemon of {name} does not answer: {last}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The error with the end of the daemon's log.
pub(crate) fn with_log(place: &HostPlace, error: anyhow::Error) -> anyhow::Error {
    let text =
        fs::read(place.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n  ");
    let shown = if tail.is_empty() { "(nothing)".to_owned() } else { tail };
    error.context(format!("the end of {}:\n  {shown}\n", place.log().display()))
}

/// Ends the daemon in order. Containers run on.
pub(crate) fn stop(lab: &Place, host: &HostRecord) -> anyhow::Result<()> {
    let place = lab.host(&host.name);
    let Some(process) = Process::load(&place.process()) else { bail!("{} is switched off", host.name) };
    process.terminate()?;
    let deadline = Instant::now() + ENDS;
    while process.runs() {
        if Instant::now() > deadline {
            return Err(with_log(&place, anyhow!("the daemon of {} does not end", host.name)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
