//! Containers of the fake daemon: exec sessions run `cat`, `echo`, `fail` and nothing else.

use super::{Asked, Fake, NOW};
use async_trait::async_trait;
use futures::StreamExt;
use shoal_api::backend::{Containers, ExecFrame, ExecIo, StateChange, Stream};
use shoal_wire::ApiError;
use shoal_wire::container::{
    Container, ContainerState, ContainerUsage, InterfaceUsage, ProcessTable, RemoveOptions, StopOptions,
    WaitCondition, WaitOutcome,
};
use shoal_wire::exec::{Exec, ExecConfig, ExecStart};
use shoal_wire::logs::{LogLine, LogQuery, StdStream};
use std::collections::BTreeMap;

/// How late an exec session's exit status is.
const LATE: std::time::Duration = std::time::Duration::from_millis(100);

impl Fake {
    fn set_state(&self, id: &str, state: ContainerState) {
        let mut containers = self.containers.lock().unwrap();
        containers.iter_mut().find(|c| c.id == id).unwrap().state = state;
    }

    fn runs(&self, id: &str) -> bool {
        let containers = self.containers.lock().unwrap();
        containers.iter().any(|c| c.id == id && matches!(c.state, ContainerState::Running { .. }))
    }
}

#[async_trait]
impl Containers for Fake {
    async fn containers(&self) -> Result<Vec<Container>, ApiError> {
        Ok(self.containers.lock().unwrap().clone())
    }

    async fn start_container(&self, id: &str) -> Result<StateChange, ApiError> {
        if self.runs(id) {
            return Ok(StateChange::Unchanged);
        }
        self.set_state(id, ContainerState::Running { pid: 2, started_at: NOW });
        self.started.notify_waiters();
        Ok(StateChange::Changed)
    }

    async fn stop_container(&self, id: &str, _: StopOptions) -> Result<StateChange, ApiError> {
        if !self.runs(id) {
            return Ok(StateChange::Unchanged);
        }
        self.set_state(id, ContainerState::Exited { code: 0, finished_at: NOW, out_of_memory: false });
        Ok(StateChange::Changed)
    }

    async fn restart_container(&self, id: &str, _: StopOptions) -> Result<(), ApiError> {
        self.set_state(id, ContainerState::Running { pid: 3, started_at: NOW });
        Ok(())
    }

    async fn kill_container(&self, id: &str, signal: &str) -> Result<(), ApiError> {
        if !self.runs(id) {
            return Err(ApiError::conflict(format!(
                "cannot kill container: {id}: container {id} is not running"
            )));
        }
        self.note(Asked::Kill(signal.to_owned()));
        Ok(())
    }

    async fn remove_container(&self, id: &str, options: RemoveOptions) -> Result<(), ApiError> {
        if self.runs(id) && !options.force {
            return Err(ApiError::conflict(
                "container is running: stop the container before removing or force remove",
            ));
        }
        self.containers.lock().unwrap().retain(|c| c.id != id);
        Ok(())
    }

    async fn wait_container(&self, id: &str, condition: WaitCondition) -> Result<WaitOutcome, ApiError> {
        if condition == WaitCondition::NextExit || self.runs(id) {
            self.started.notified().await;
        }
        Ok(WaitOutcome { status_code: 7, error: None })
    }

    async fn resize_container(&self, _: &str, height: u16, width: u16) -> Result<(), ApiError> {
        self.note(Asked::Resize(height, width));
        Ok(())
    }

    async fn container_processes(&self, _: &str, _: &str) -> Result<ProcessTable, ApiError> {
        let text = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect();
        Ok(ProcessTable { titles: text(&["PID", "CMD"]), rows: vec![text(&["4957", "/whoami"])] })
    }

    async fn container_usage(&self, _: &str) -> Result<ContainerUsage, ApiError> {
        Ok(ContainerUsage {
            at: NOW,
            cpu_nanos: 5_000_000,
            system_cpu_nanos: 1_000_000_000,
            cpus: 2,
            memory_bytes: 1 << 20,
            memory_limit_bytes: 1 << 30,
            pids: 3,
            interfaces: BTreeMap::from([(
                "eth0".to_owned(),
                InterfaceUsage { rx_bytes: 1000, ..Default::default() },
            )]),
            ..ContainerUsage::default()
        })
    }

    async fn container_logs(&self, _: &str, query: LogQuery) -> Result<Stream<LogLine>, ApiError> {
        let line = |stream, text: &str| LogLine { at: NOW, stream, text: text.as_bytes().to_vec() };
        let lines = [line(StdStream::Stdout, "out\n"), line(StdStream::Stderr, "err\n")];
        let wanted = lines.into_iter().filter(|l| match l.stream {
            StdStream::Stderr => query.stderr,
            _ => query.stdout,
        });
        let told = futures::stream::iter(wanted.map(Ok).collect::<Vec<_>>());
        Ok(if query.follow { told.chain(futures::stream::pending()).boxed() } else { told.boxed() })
    }

    async fn create_exec(&self, container: &str, config: ExecConfig) -> Result<String, ApiError> {
        self.note(Asked::Exec(config.clone()));
        let id = format!("{:064x}", self.random());
        let container_id = container.to_owned();
        let exec = Exec { id: id.clone(), container_id, config, running: false, exit_code: None, pid: 0 };
        self.execs.lock().unwrap().push(exec);
        Ok(id)
    }

    async fn exec(&self, id: &str) -> Result<Option<Exec>, ApiError> {
        Ok(self.execs.lock().unwrap().iter().find(|e| e.id == id).cloned())
    }

    async fn start_exec(&self, id: &str, _: ExecStart) -> Result<ExecIo, ApiError> {
        let config = {
            let mut execs = self.execs.lock().unwrap();
            let exec = execs.iter_mut().find(|e| e.id == id).unwrap();
            if exec.config.cmd[0] == "nosuch" {
                exec.exit_code = Some(127);
                return Err(ApiError::bad_request("nosuch: executable file not found in $PATH"));
            }
            exec.running = true;
            exec.config.clone()
        };
        // The exit status is known a little after the output has ended, as it is of real processes.
        let (execs, name) = (self.execs.clone(), id.to_owned());
        let code = if config.cmd[0] == "fail" { 3 } else { 0 };
        tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            let mut execs = execs.lock().unwrap();
            let exec = execs.iter_mut().find(|e| e.id == name).unwrap();
            (exec.running, exec.exit_code) = (false, Some(code));
        });
        let frame =
            |stream, bytes: &[u8]| Ok(ExecFrame { stream, bytes: bytes::Bytes::copy_from_slice(bytes) });
        if config.cmd[0] != "cat" {
            let text = format!("{}\n", config.cmd[1..].join(" "));
            let stream = if config.cmd[0] == "fail" { StdStream::Stderr } else { StdStream::Stdout };
            let output = futures::stream::iter([frame(stream, text.as_bytes())]).boxed();
            return Ok(ExecIo { stdin: None, output });
        }
        let (stdin, reader) = tokio::io::duplex(4096);
        let echoed = tokio_util::io::ReaderStream::new(reader).map(|bytes| {
            let bytes = bytes.map_err(|e| ApiError::internal(e.to_string()))?;
            Ok(ExecFrame { stream: StdStream::Stdout, bytes })
        });
        // After the end of the input the process still has something to say.
        let output =
            echoed.chain(futures::stream::iter([frame(StdStream::Stdout, b"[end of input]\n")])).boxed();
        Ok(ExecIo { stdin: Some(Box::new(stdin)), output })
    }

    async fn resize_exec(&self, _: &str, height: u16, width: u16) -> Result<(), ApiError> {
        self.note(Asked::Resize(height, width));
        Ok(())
    }
}
