//! Processes beside the container's first one.

use super::launch::{Job, Launch, Streams, launch};
use super::oci;
use super::user::{Accounts, Identity};
use super::{capabilities, launch};
use crate::exec::ExecSpec;
use crate::failure::Failure;
use crate::spec::ContainerSpec;
use crate::state_dir::StateDir;
use crate::wire::{Reply, send};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

/// A process asked for by a client, and what has become of it.
#[derive(Debug)]
pub(super) struct Session {
    /// Where it is told what happens; none once the client has gone. The process goes on without.
    pub(super) client: Option<OwnedFd>,
    pub(super) stage: Stage,
    /// Whether nobody reads the terminal but the shim.
    is_drained: bool,
    /// The master of such a terminal.
    pub(super) drained: Option<OwnedFd>,
    /// libcontainer's directory for it.
    directory: PathBuf,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// libcontainer is at work.
    Starting { launch: Launch, deadline: Instant },
    /// It runs.
    Running(Pid),
    /// Nothing more to come.
    Over,
}

/// The container as sessions need it.
pub(super) struct Host<'a> {
    pub(super) directory: &'a StateDir,
    pub(super) spec: &'a ContainerSpec,
    pub(super) config: &'a Value,
}

/// A session whose launch has begun.
struct Prepared {
    launch: Launch,
    directory: PathBuf,
}

impl Session {
    /// Starts a process. `descriptors` are the specification, then the three streams unless it has a terminal.
    pub(super) fn start(
        host: &Host<'_>,
        number: u64,
        client: OwnedFd,
        descriptors: Vec<OwnedFd>,
        (is_drained, deadline): (bool, Instant),
    ) -> Result<Self, (OwnedFd, Failure)> {
        match Self::prepare(host, number, descriptors) {
            Ok(Prepared { launch, directory }) => {
                let stage = Stage::Starting { launch, deadline };
                Ok(Self { client: Some(client), stage, is_drained, drained: None, directory })
            }
            Err(failure) => {
                remove(&directory_of(host, number));
                Err((client, failure))
            }
        }
    }

    fn prepare(host: &Host<'_>, number: u64, descriptors: Vec<OwnedFd>) -> Result<Prepared, Failure> {
        let mut descriptors = descriptors.into_iter();
        let spec = read_spec(descriptors.next())?;
        let streams = match (spec.terminal, descriptors.next(), descriptors.next(), descriptors.next()) {
            (true, ..) => None,
            (false, Some(stdin), Some(stdout), Some(stderr)) => Some(Streams { stdin, stdout, stderr }),
            _ => return Err(Failure::invalid("an exec without a terminal needs three streams")),
        };
        let process = process(host, &spec)?;
        let directory = directory_of(host, number);
        let own = directory.join(host.directory.id());
        fs::create_dir_all(&own).map_err(|e| Failure::io("make", &own, &e))?;
        // Each launch gets a copy of libcontainer's state: it leaves sockets there whose names could clash.
        let state = host.directory.libcontainer().join(host.directory.id()).join("state.json");
        fs::copy(&state, own.join("state.json")).map_err(|e| Failure::io("copy", &state, &e))?;
        let path = directory.join("process.json");
        fs::write(&path, process.to_string()).map_err(|e| Failure::io("write", &path, &e))?;
        let launch = launch(&directory, &host.directory.id(), Job::Further { process: path }, streams)?;
        Ok(Prepared { launch, directory })
    }

    /// Takes libcontainer's outcome. Gives the process, and its terminal's master if it has one.
    pub(super) fn finish_start(&mut self) -> Option<Result<(Pid, Option<OwnedFd>), Failure>> {
        let Stage::Starting { launch, .. } = std::mem::replace(&mut self.stage, Stage::Over) else {
            return None;
        };
        let outcome = launch.finish();
        remove(&self.directory);
        Some(outcome.and_then(|launched| {
            if let Some(failure) = launch::reported(&launched.status) {
                return Err(failure);
            }
            self.stage = Stage::Running(launched.pid);
            if self.is_drained {
                self.drained = launched.terminal;
                return Ok((launched.pid, None));
            }
            Ok((launched.pid, launched.terminal))
        }))
    }

    /// Tells the client, if there is one. One that does not listen has gone.
    pub(super) fn tell(&self, reply: &Reply, terminal: Option<&OwnedFd>) {
        if let Some(client) = &self.client {
            let descriptors: Vec<_> = terminal.iter().map(|t| t.as_fd()).collect();
            let _ = send(client, reply, &descriptors);
        }
    }

    /// Throws away what a drained terminal has.
    pub(super) fn drain(&mut self) {
        let mut bytes = [0; 4096];
        let read = self.drained.as_ref().map(|master| rustix::io::read(master, &mut bytes));
        // A terminal whose last user is gone says EIO.
        if !matches!(read, Some(Ok(1..) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR))) {
            self.drained = None;
        }
    }

    /// Gives up a start that takes too long.
    pub(super) fn give_up(&mut self) {
        if let Stage::Starting { launch, .. } = &self.stage {
            // It is this process's child and not reaped yet, so the id is its own.
            let _ = nix::sys::signal::kill(launch.worker, nix::sys::signal::Signal::SIGKILL);
        }
        self.stage = Stage::Over;
        remove(&self.directory);
    }
}

fn directory_of(host: &Host<'_>, number: u64) -> PathBuf {
    host.directory.execs().join(number.to_string())
}

fn remove(directory: &PathBuf) {
    // What cannot be removed now goes with the container's directory.
    let _ = fs::remove_dir_all(directory);
}

fn read_spec(memory: Option<OwnedFd>) -> Result<ExecSpec, Failure> {
    let mut memory = File::from(memory.ok_or_else(|| Failure::invalid("an exec needs a specification"))?);
    let mut bytes = Vec::new();
    let read = memory.seek(SeekFrom::Start(0)).and_then(|_| memory.read_to_end(&mut bytes));
    read.map_err(|e| Failure::refused(format!("read the exec's specification: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| Failure::invalid(format!("the exec's specification: {e}")))
}

/// The OCI `process.json`: the container's own process with what differs.
fn process(host: &Host<'_>, exec: &ExecSpec) -> Result<Value, Failure> {
    let mut process = host.config["process"].clone();
    let identity = identity(host, exec)?;
    if exec.privileged {
        let all: BTreeSet<String> = capabilities::all().collect();
        process["capabilities"] = oci::capability_sets(&all, identity.uid);
    } else {
        let bounding: BTreeSet<String> = process["capabilities"]["bounding"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c.as_str().map(str::to_owned))
            .collect();
        process["capabilities"] = oci::capability_sets(&bounding, identity.uid);
    }
    process["user"] = oci::user(&identity);
    process["terminal"] = json!(exec.terminal);
    process["consoleSize"] = oci::console_size(exec.terminal_size);
    process["args"] = json!(exec.args);
    process["env"] = json!(environment(host, exec, &identity));
    if !exec.cwd.is_empty() {
        if !exec.cwd.starts_with('/') {
            return Err(Failure::invalid(format!("Cwd must be an absolute path: {}", exec.cwd)));
        }
        process["cwd"] = json!(exec.cwd);
    }
    Ok(process)
}

fn identity(host: &Host<'_>, exec: &ExecSpec) -> Result<Identity, Failure> {
    let user = if exec.user.is_empty() { &host.spec.user } else { &exec.user };
    Accounts::read(&host.directory.rootfs()).resolve(user, &host.spec.groups)
}

/// The container's environment as it was asked for, overlaid by the exec's.
fn environment(host: &Host<'_>, exec: &ExecSpec, identity: &Identity) -> Vec<String> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let replaced: BTreeSet<String> = exec.env.iter().map(|e| key(e)).collect();
    let mut given: Vec<String> =
        host.spec.env.iter().filter(|e| !replaced.contains(&key(e))).cloned().collect();
    given.extend(exec.env.iter().cloned());
    let spec = ContainerSpec {
        terminal: exec.terminal,
        hostname: host.spec.hostname.clone(),
        ..ContainerSpec::default()
    };
    oci::environment(&given, &spec, &identity.home)
}
