//! Exec sessions: noted when they are created, run when they are started, remembered for a while after they ended.

use crate::backend::internal;
use crate::engine::Engine;
use crate::entropy;
use crate::pipe::{self, PipeReader, PipeWriter};
use crate::readiness;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use shoal_api::backend::{ExecFrame, ExecIo};
use shoal_runtime::{ExecControl, ExecSpec, ExecStdio};
use shoal_wire::ApiError;
use shoal_wire::exec::{Exec, ExecConfig, ExecStart};
use shoal_wire::logs::StdStream;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;

/// Ended sessions remembered at most; clients ask for the exit status right after the end.
const REMEMBERED: usize = 1000;

/// Exit status of a session whose program could not be started at all, as Docker's.
const NOT_RUN: i32 = 126;

/// All exec sessions of this daemon.
#[derive(Default)]
pub(crate) struct ExecSessions {
    sessions: Mutex<BTreeMap<String, Session>>,
}

struct Session {
    exec: Exec,
    /// Order of creation, to forget the oldest.
    number: usize,
    control: Option<Arc<ExecControl>>,
}

impl ExecSessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a session; answers its id.
    pub(crate) fn create(&self, container: &str, config: ExecConfig) -> String {
        let id = entropy::random_hex(32);
        let mut sessions = self.lock();
        let number = sessions.values().map(|s| s.number).max().map_or(0, |n| n + 1);
        if sessions.len() >= REMEMBERED {
            let oldest = sessions.iter().filter(|(_, s)| !s.exec.running).min_by_key(|(_, s)| s.number);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                sessions.remove(&oldest);
            }
        }
        let exec = Exec {
            id: id.clone(),
            container_id: container.to_owned(),
            config,
            running: false,
            exit_code: None,
            pid: 0,
        };
        sessions.insert(id.clone(), Session { exec, number, control: None });
        id
    }

    /// One session.
    pub(crate) fn get(&self, id: &str) -> Option<Exec> {
        self.lock().get(id).map(|s| s.exec.clone())
    }

    /// Running sessions of a container.
    pub(crate) fn of_container(&self, container: &str) -> Vec<String> {
        let sessions = self.lock();
        let running = sessions.values().filter(|s| s.exec.running && s.exec.container_id == container);
        running.map(|s| s.exec.id.clone()).collect()
    }

    /// Sets the size of a session's terminal.
    pub(crate) fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<(), ApiError> {
        let control = self.lock().get(id).and_then(|s| s.control.clone());
        match control {
            Some(control) => control.resize(rows, columns).map_err(internal),
            None => Err(ApiError::not_found(format!("No such exec instance: {id}"))),
        }
    }

    /// Starts a session.
    pub(crate) async fn start(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        id: &str,
        start: ExecStart,
    ) -> Result<ExecIo, ApiError> {
        let exec = self.get(id).ok_or_else(|| ApiError::not_found(format!("No such exec instance: {id}")))?;
        if exec.running || exec.exit_code.is_some() {
            return Err(ApiError::conflict(format!("Error: Exec command {id} has already started")));
        }
        let spec = spec_of(&exec.config, start);
        let (runtime, container) = (engine.runtime.clone(), exec.container_id.clone());
        let started = tokio::task::spawn_blocking(move || {
            let started = if start.detach {
                runtime.exec_detached(&container, &spec).map(|control| (control, None))
            } else {
                runtime.exec(&container, &spec).map(|process| (process.control, Some(process.stdio)))
            };
            // A program that cannot be run is told inside the session, with the status that a shell would give.
            started.map_err(|error| {
                let code = match &error {
                    shoal_runtime::Error::Command { exit_code, .. } => Some(*exit_code),
                    _ => None,
                };
                (crate::backend::containers::runtime_error(error), code)
            })
        });
        let (control, stdio) = match started.await.map_err(internal)? {
            Ok(started) => started,
            Err((error, code)) => {
                self.ended(id, code.unwrap_or(NOT_RUN));
                return Err(error);
            }
        };
        let control = Arc::new(control);
        if let Some(session) = self.lock().get_mut(id) {
            session.exec.running = true;
            session.exec.pid = control.pid();
            session.control = Some(control.clone());
        }
        let (sessions, name) = (self.clone(), id.to_owned());
        let shutdown = engine.supervisor.shutdown().clone();
        engine.supervisor.spawn(async move {
            tokio::select! {
                code = exit_code(&control) => sessions.ended(&name, code),
                () = shutdown.cancelled() => {}
            }
        });
        match stdio {
            Some(stdio) => streams(stdio, exec.config.attach_stdin).map_err(internal),
            None => Ok(ExecIo { stdin: None, output: stream::empty().boxed() }),
        }
    }

    fn ended(&self, id: &str, code: i32) {
        if let Some(session) = self.lock().get_mut(id) {
            session.exec.running = false;
            session.exec.exit_code = Some(code);
            session.exec.pid = 0;
            session.control = None;
        }
    }
}

fn spec_of(config: &ExecConfig, start: ExecStart) -> ExecSpec {
    let size = start.console_size.or(config.console_size);
    ExecSpec {
        args: config.cmd.clone(),
        env: config.env.clone(),
        cwd: config.working_dir.clone(),
        user: config.user.clone(),
        terminal: config.tty,
        terminal_size: size.map(|[rows, columns]| (rows, columns)),
        attach_stdin: config.attach_stdin && !start.detach,
        privileged: config.privileged,
    }
}

/// The exit code, once the process has ended.
pub(crate) async fn exit_code(control: &ExecControl) -> i32 {
    let watched = control.end_descriptor().try_clone_to_owned();
    let watched = watched.and_then(|descriptor| readiness::watch(descriptor, Interest::READABLE));
    match watched {
        Ok(descriptor) => drop(descriptor.readable().await.map(drop)),
        Err(error) => tracing::warn!(%error, "an exec session's end cannot be watched"),
    }
    match control.wait(Duration::from_secs(1)) {
        Ok(Some(code)) => code,
        // The shim died with the process.
        Ok(None) | Err(_) => 137,
    }
}

fn streams(stdio: ExecStdio, wants_stdin: bool) -> std::io::Result<ExecIo> {
    match stdio {
        ExecStdio::Pipes { stdin, stdout, stderr } => {
            let out = frames(PipeReader::new(stdout)?, StdStream::Stdout);
            let err = frames(PipeReader::new(stderr)?, StdStream::Stderr);
            let stdin = stdin.filter(|_| wants_stdin).map(PipeWriter::new).transpose()?;
            Ok(ExecIo { stdin: stdin.map(|s| Box::new(s) as _), output: stream::select(out, err).boxed() })
        }
        ExecStdio::Terminal(master) => {
            let output = frames(PipeReader::new(master.as_fd().try_clone_to_owned()?)?, StdStream::Stdout);
            let stdin =
                if wants_stdin { Some(PipeWriter::new(master.as_fd().try_clone_to_owned()?)?) } else { None };
            // The terminal hangs up when the last of its masters closes: keep one while output is read.
            let output = output.map(move |frame| {
                let _kept = &master;
                frame
            });
            Ok(ExecIo { stdin: stdin.map(|s| Box::new(s) as _), output: output.boxed() })
        }
    }
}

fn frames(reader: PipeReader, stream: StdStream) -> BoxStream<'static, Result<ExecFrame, ApiError>> {
    pipe::chunks(reader)
        .map(move |bytes| bytes.map(|bytes| ExecFrame { stream, bytes }).map_err(internal))
        .boxed()
}
