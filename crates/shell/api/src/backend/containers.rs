//! Containers of this host.

use super::Stream;
use async_trait::async_trait;
use shoal_wire::ApiError;
use shoal_wire::container::{
    Container, ContainerUsage, ProcessTable, RemoveOptions, StopOptions, WaitCondition, WaitOutcome,
};
use shoal_wire::exec::{Exec, ExecConfig, ExecStart};
use shoal_wire::logs::{LogLine, LogQuery, StdStream};
use tokio::io::AsyncWrite;

/// Whether an action changed anything; `Unchanged` is answered with 304.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChange {
    /// It did.
    Changed,
    /// Nothing was to be done.
    Unchanged,
}

/// Bytes that an exec session wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecFrame {
    /// Where; with a terminal always standard output.
    pub stream: StdStream,
    /// What.
    pub bytes: bytes::Bytes,
}

/// The streams of a started exec session.
pub struct ExecIo {
    /// Standard input: shutting it down is end of file. Absent when it is not attached.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Output; ends when the process has ended and all is read. Dropping it does not end the process.
    pub output: Stream<ExecFrame>,
}

/// Containers of this host. `id` is always a full id of a container from [`Containers::containers`].
#[async_trait]
pub trait Containers: Send + Sync + 'static {
    /// All containers, running or not.
    async fn containers(&self) -> Result<Vec<Container>, ApiError>;

    /// Starts a container.
    async fn start_container(&self, id: &str) -> Result<StateChange, ApiError>;

    /// Stops a container; returns when it has stopped.
    async fn stop_container(&self, id: &str, options: StopOptions) -> Result<StateChange, ApiError>;

    /// Stops and starts a container.
    async fn restart_container(&self, id: &str, options: StopOptions) -> Result<(), ApiError>;

    /// Sends a signal (`SIGKILL`, `KILL` or `9`; empty means SIGKILL).
    async fn kill_container(&self, id: &str, signal: &str) -> Result<(), ApiError>;

    /// Removes a container.
    async fn remove_container(&self, id: &str, options: RemoveOptions) -> Result<(), ApiError>;

    /// Waits. The wait must be armed when the future has been polled once: the client is told to go on then, and an end
    /// from there on must not be missed.
    async fn wait_container(&self, id: &str, condition: WaitCondition) -> Result<WaitOutcome, ApiError>;

    /// Sets the size of a container's terminal.
    async fn resize_container(&self, id: &str, height: u16, width: u16) -> Result<(), ApiError>;

    /// The processes of a container, as `ps` with these arguments shows them.
    async fn container_processes(&self, id: &str, ps_args: &str) -> Result<ProcessTable, ApiError>;

    /// One reading of a container's counters.
    async fn container_usage(&self, id: &str) -> Result<ContainerUsage, ApiError>;

    /// Lines that a container wrote.
    async fn container_logs(&self, id: &str, query: LogQuery) -> Result<Stream<LogLine>, ApiError>;

    /// Notes an exec session; the answer is its id, 64 hexadecimal characters.
    async fn create_exec(&self, container: &str, config: ExecConfig) -> Result<String, ApiError>;

    /// An exec session, if it is known. Clients ask for the exit code when the output has ended; the server waits with
    /// the end of the output until there is one.
    async fn exec(&self, id: &str) -> Result<Option<Exec>, ApiError>;

    /// Starts an exec session. With `detach` the streams are not used. After an error, a session that has an exit code
    /// (126: cannot be run, 127: no such program) tells the error in its output, as Docker does, and the client ends
    /// with that code; for a session without one the error is the answer.
    async fn start_exec(&self, id: &str, start: ExecStart) -> Result<ExecIo, ApiError>;

    /// Sets the size of an exec session's terminal.
    async fn resize_exec(&self, id: &str, height: u16, width: u16) -> Result<(), ApiError>;
}
