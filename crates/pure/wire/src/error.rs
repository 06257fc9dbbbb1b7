//! Errors as the API tells them: a status and one message.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The statuses that Docker's daemon uses for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 304: nothing to do (start of a running container).
    NotModified,
    /// 400: the request makes no sense.
    BadRequest,
    /// 401: credentials are missing or wrong.
    Unauthorized,
    /// 403: not allowed.
    Forbidden,
    /// 404: no such thing.
    NotFound,
    /// 409: clashes with what is there.
    Conflict,
    /// 413: the body is larger than the bound.
    TooLarge,
    /// 500: something went wrong here.
    Internal,
    /// 501: Docker can, Shoal cannot.
    NotImplemented,
    /// 503: not in a state to answer (not a manager, no quorum).
    Unavailable,
}

impl Status {
    /// The HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Self::NotModified => 304,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Internal => 500,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
        }
    }
}

/// gRPC's codes as swarmkit's errors name them; Docker's daemon maps them to statuses and keeps the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpcCode {
    /// 400
    InvalidArgument,
    /// 404
    NotFound,
    /// 409
    AlreadyExists,
    /// 403
    PermissionDenied,
    /// 400
    FailedPrecondition,
    /// 503
    Unavailable,
    /// 501
    Unimplemented,
    /// 500
    Unknown,
    /// 500
    Internal,
    /// 500
    DeadlineExceeded,
}

impl RpcCode {
    /// The status that Docker's daemon answers with.
    pub fn status(self) -> Status {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => Status::BadRequest,
            Self::NotFound => Status::NotFound,
            Self::AlreadyExists => Status::Conflict,
            Self::PermissionDenied => Status::Forbidden,
            Self::Unavailable => Status::Unavailable,
            Self::Unimplemented => Status::NotImplemented,
            Self::Unknown | Self::Internal | Self::DeadlineExceeded => Status::Internal,
        }
    }
}

impl fmt::Display for RpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An error with the words that the client shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Which status it is answered with.
    pub status: Status,
    /// What the client prints behind `Error response from daemon: `.
    pub message: String,
}

impl ApiError {
    /// An error with this status and message.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 404
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Status::NotFound, message)
    }

    /// 400
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Status::BadRequest, message)
    }

    /// 409
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Status::Conflict, message)
    }

    /// 403
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Status::Forbidden, message)
    }

    /// 500
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Status::Internal, message)
    }

    /// 501
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(Status::NotImplemented, message)
    }

    /// 503
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Status::Unavailable, message)
    }

    /// An error in swarmkit's form: `rpc error: code = X desc = …`.
    pub fn rpc(code: RpcCode, desc: impl fmt::Display) -> Self {
        Self::new(code.status(), format!("rpc error: code = {code} desc = {desc}"))
    }

    /// The version that a write was based on is not the stored one (500, in swarmkit's words).
    pub fn out_of_sequence() -> Self {
        Self::rpc(RpcCode::Unknown, "update out of sequence")
    }

    /// The node is in no swarm (503).
    pub fn not_in_swarm() -> Self {
        Self::unavailable(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
             node to swarm and try again.",
        )
    }

    /// The node is a worker (503).
    pub fn worker() -> Self {
        Self::unavailable(
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please \
             run this command on a manager node or promote the current node to a manager.",
        )
    }

    /// The node's swarm data are encrypted and not unlocked (503).
    pub fn locked() -> Self {
        Self::unavailable(
            "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" \
             to unlock it.",
        )
    }

    /// `swarm init` or `join` on a member (503).
    pub fn already_in_swarm() -> Self {
        Self::unavailable(
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another \
             one.",
        )
    }

    /// `swarm leave` outside a swarm (503).
    pub fn not_part_of_swarm() -> Self {
        Self::unavailable("This node is not part of a swarm")
    }

    /// The managers have lost their majority (503 would be truer, but Docker's clients know this text).
    pub fn no_leader() -> Self {
        Self::rpc(
            RpcCode::Unknown,
            "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than \
             half of the managers are online.",
        )
    }

    /// The body of the answer.
    pub fn body(&self) -> ErrorBody {
        ErrorBody { message: self.message.clone() }
    }
}

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub message: String,
}
