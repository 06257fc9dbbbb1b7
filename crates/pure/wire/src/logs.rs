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

/// How lines are decorated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogFormat {
    /// RFC 3339 with nine fraction digits in front.
    pub timestamps: bool,
    /// `key=value,…` in front (behind the timestamp).
    pub details: bool,
}

impl LogFormat {
    /// The line as it travels. `details` is what [`TaskLogLine::details`] says, or empty.
    pub fn apply(self, line: &LogLine, details: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(line.text.len() + details.len() + 32);
        if self.timestamps {
            out.extend_from_slice(line.at.to_rfc3339_nine().as_bytes());
            out.push(b' ');
        }
        if self.details {
            out.extend_from_slice(details.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(&line.text);
        out
    }
}

impl TaskLogLine {
    /// Where the line comes from, in the form that `docker service logs` reads.
    pub fn details(&self) -> String {
        format!(
            "com.docker.swarm.node.id={},com.docker.swarm.service.id={},com.docker.swarm.task.id={}",
            self.node, self.service, self.task
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_come_before_details() {
        let line = LogLine { at: Timestamp(1), stream: StdStream::Stdout, text: b"hi\n".to_vec() };
        let plain = LogFormat::default().apply(&line, "a=b");
        assert_eq!(plain, b"hi\n");
        let full = LogFormat { timestamps: true, details: true }.apply(&line, "a=b");
        assert_eq!(full, b"1970-01-01T00:00:00.000000001Z a=b hi\n");
    }
}
