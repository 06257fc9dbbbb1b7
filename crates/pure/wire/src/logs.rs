//! Lines that containers wrote.

use shoal_model::{NodeId, ServiceId, TaskId, Timestamp};

/// Which of a process's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StdStream {
    /// Standard input (only ever sent by old servers).
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// An error of the daemon while streaming.
    System,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// Where.
    pub stream: StdStream,
    /// The text with its newline (the last part of an unfinished line has none).
    pub text: Vec<u8>,
}

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLogLine {
    /// The node that it ran on.
    pub node: NodeId,
    /// Its service.
    pub service: ServiceId,
    /// The task.
    pub task: TaskId,
    /// The line.
    pub line: LogLine,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// Only lines written at or after this time.
    pub since: Option<Timestamp>,
    /// Only lines written before this time.
    pub until: Option<Timestamp>,
    /// Only so many lines at the end; absent means all.
    pub tail: Option<u64>,
    /// Wait for more.
    pub follow: bool,
}

/// Whose lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSource {
    /// All tasks of a service.
    Service(ServiceId),
    /// One task.
    Task(TaskId),
}
