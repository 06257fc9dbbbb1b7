//! What a refused request is answered with.

use shoal_store::{LookupError, Rejected};
use std::fmt;

/// The kinds of refusal, by their gRPC names, which Docker's texts carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request makes no sense.
    InvalidArgument,
    /// Something named in it is not there.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Not as long as things are as they are.
    FailedPrecondition,
    /// Not at all.
    PermissionDenied,
    /// Docker does not do this, and neither does Shoal.
    Unimplemented,
    /// Docker gives no code; a version conflict.
    Unknown,
}

impl Code {
    /// The HTTP status that Docker answers with (moby `errdefs` and its mapping of gRPC codes).
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => 400,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists => 409,
            Self::Unknown => 500,
            Self::Unimplemented => 501,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a request was refused. The text is Docker's, whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// Docker's managers refuse it; the text shows their gRPC code.
    #[error("rpc error: code = {code} desc = {desc}")]
    Refused {
        /// The kind of refusal.
        code: Code,
        /// The words behind it.
        desc: String,
    },
    /// Docker's daemon refuses it before the managers see it; the text is bare.
    #[error("{message}")]
    Plain {
        /// The kind of refusal.
        code: Code,
        /// The words.
        message: String,
    },
    /// Nothing, or more than one thing, is called that.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The store refused it in the end, because something came in between.
    #[error("{}", rejected_text(.0))]
    Rejected(#[from] Rejected),
}

impl AdmitError {
    /// The kind of refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } | Self::Plain { code, .. } => *code,
            Self::Lookup(LookupError::NotFound { .. }) => Code::NotFound,
            Self::Lookup(LookupError::Ambiguous { .. }) => Code::InvalidArgument,
            Self::Rejected(rejected) => rejected_code(rejected),
        }
    }

    pub(crate) fn invalid(desc: impl Into<String>) -> Self {
        Self::Refused { code: Code::InvalidArgument, desc: desc.into() }
    }

    pub(crate) fn precondition(desc: impl Into<String>) -> Self {
        Self::Refused { code: Code::FailedPrecondition, desc: desc.into() }
    }

    pub(crate) fn unimplemented(desc: impl Into<String>) -> Self {
        Self::Refused { code: Code::Unimplemented, desc: desc.into() }
    }

    pub(crate) fn not_found(desc: impl Into<String>) -> Self {
        Self::Refused { code: Code::NotFound, desc: desc.into() }
    }

    pub(crate) fn exists(desc: impl Into<String>) -> Self {
        Self::Refused { code: Code::AlreadyExists, desc: desc.into() }
    }
}

fn rejected_code(rejected: &Rejected) -> Code {
    match rejected {
        Rejected::NameConflict { .. } | Rejected::Exists { .. } => Code::AlreadyExists,
        Rejected::NotFound { .. } => Code::NotFound,
        Rejected::PortInUse { .. } => Code::InvalidArgument,
        Rejected::InUse { .. } => Code::FailedPrecondition,
        Rejected::OutOfSequence { .. }
        | Rejected::Overtaken { .. }
        | Rejected::AddressInUse { .. }
        | Rejected::VniInUse { .. }
        | Rejected::RaftIdInUse { .. }
        | Rejected::BadTransition { .. }
        | Rejected::DesiredBackwards { .. } => Code::Unknown,
    }
}

fn rejected_text(rejected: &Rejected) -> String {
    match rejected {
        // The daemon finds these itself and says so without a code.
        Rejected::NameConflict { kind: shoal_store::Kind::Network, .. } => rejected.to_string(),
        _ => format!("rpc error: code = {} desc = {rejected}", rejected_code(rejected)),
    }
}
