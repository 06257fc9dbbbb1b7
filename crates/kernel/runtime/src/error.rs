//! What can go wrong between the daemon and its containers.

use std::path::PathBuf;

/// An error of the runtime. Texts that reach users are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such container.
    #[error("No such container: {0}")]
    NotFound(String),
    /// The id is taken.
    #[error("container {0} exists already")]
    Exists(String),
    /// It runs, so it cannot be removed.
    #[error("container {0} is running: stop the container before removing it")]
    Running(String),
    /// It does not run, so it cannot be signalled, entered or attached to.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// It was started before.
    #[error("container {0} was started already")]
    Started(String),
    /// The spec cannot be carried out; trying again does not help.
    #[error("{0}")]
    InvalidSpec(String),
    /// The command is not there or cannot be executed: `exec: "x": executable file not found in $PATH`.
    #[error("{message}")]
    Command {
        /// What is wrong with it.
        message: String,
        /// The exit code Docker gives: 127 (not found) or 126 (cannot be executed).
        exit_code: i32,
    },
    /// The kernel or libcontainer refused a step.
    #[error("{0}")]
    Refused(String),
    /// The shim did not answer as it should.
    #[error("the shim of container {id} {what}")]
    Shim {
        /// The container.
        id: String,
        /// What it did.
        what: String,
    },
    /// The operating system refused.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It did not end in time.
    #[error("{0} did not end in time")]
    Timeout(String),
}

impl Error {
    /// Whether trying the same again may work.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Shim { .. } | Self::Io { .. } | Self::Timeout(_) | Self::Refused(_))
    }
}

/// An error with its causes, for a log or a message that crosses a process border.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
