//! What happened, line by line.

use shoal_model::Timestamp;
use std::fmt::Write;

/// What happened, line by line; kept only when somebody wants to read it.
#[derive(Debug, Default)]
pub struct Trace {
    /// The lines.
    pub lines: Vec<String>,
    /// Whether lines are kept.
    pub kept: bool,
}

impl Trace {
    /// Notes a line.
    pub fn note(&mut self, now: Timestamp, line: impl FnOnce() -> String) {
        if self.kept {
            self.lines.push(format!("{} {}", clock(now), line()));
        }
    }
}

/// Virtual time since the start, in seconds.
pub fn clock(now: Timestamp) -> String {
    let millis = now.since(crate::world::START).as_millis();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{:>7}.{:03}", millis / 1000, millis % 1000);
    text
}
