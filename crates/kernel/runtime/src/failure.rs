//! An error on its way from the shim to the daemon.

use crate::Error;
use serde::{Deserialize, Serialize};

/// What went wrong in a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    /// The exit code that Docker gives a container that fails so.
    pub(crate) exit_code: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureKind {
    InvalidSpec,
    Command,
    NotRunning,
    Started,
    Refused,
}

/// The command is not there (as a shell says).
pub(crate) const EXIT_NOT_FOUND: i32 = 127;
/// The command cannot be executed (as a shell says).
pub(crate) const EXIT_NOT_EXECUTABLE: i32 = 126;
/// The container could not be made at all (as Docker says).
pub(crate) const EXIT_NOT_MADE: i32 = 128;

impl Failure {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::InvalidSpec, message: message.into(), exit_code: EXIT_NOT_MADE }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into(), exit_code: EXIT_NOT_MADE }
    }

    pub(crate) fn command(message: impl Into<String>, exit_code: i32) -> Self {
        Self { kind: FailureKind::Command, message: message.into(), exit_code }
    }

    /// An operation on a path that the system refused.
    pub(crate) fn io(action: &str, path: &std::path::Path, source: &dyn std::fmt::Display) -> Self {
        Self::refused(format!("{action} {}: {source}", path.display()))
    }

    /// The error that the daemon's caller sees.
    pub(crate) fn into_error(self, id: &str) -> Error {
        match self.kind {
            FailureKind::InvalidSpec => Error::InvalidSpec(self.message),
            FailureKind::Command => Error::Command { message: self.message, exit_code: self.exit_code },
            FailureKind::NotRunning => Error::NotRunning(id.to_owned()),
            FailureKind::Started => Error::Started(id.to_owned()),
            FailureKind::Refused => Error::Refused(self.message),
        }
    }
}
