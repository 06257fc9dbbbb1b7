//! The container's log in Docker's json-file format: one JSON object a line.
//!
//! The shim writes it ([`line`]); whoever shows logs reads it, also long after the container has ended.

mod follow;
mod line;
mod read;

pub use follow::follow;
pub use read::read;

pub(crate) use line::Cutter;

use shoal_model::Timestamp;

/// Which of a log's lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Not earlier than this.
    pub since: Option<Timestamp>,
    /// Not later than this.
    pub until: Option<Timestamp>,
    /// Only the last so many lines, counted before the other conditions, as Docker does; absent means all.
    pub tail: Option<u64>,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
}

/// A stream of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub time: Timestamp,
    /// To which stream.
    pub stream: Stream,
    /// Its bytes with the newline, which a part of a line longer than 16 KiB lacks.
    pub bytes: Vec<u8>,
}

impl LogQuery {
    /// Whether a line is wanted, apart from `tail`.
    fn wants(&self, line: &LogLine) -> bool {
        let stream = match line.stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        stream && self.since.is_none_or(|t| line.time >= t) && self.until.is_none_or(|t| line.time <= t)
    }
}
