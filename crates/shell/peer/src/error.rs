//! What can go wrong between nodes.

use std::path::PathBuf;
use tonic::Status;

/// What can go wrong between nodes.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The other side cannot be reached.
    #[error("{addr} cannot be reached")]
    Unreachable {
        /// Its address.
        addr: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The other side took too long.
    #[error("{addr} did not answer in time")]
    TimedOut {
        /// Its address.
        addr: String,
    },
    /// The address shows a cluster other than the token's. (The words are Docker's.)
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    WrongRoot {
        /// Sha-256 of the root certificate that the token tells of, hexadecimal.
        expected: String,
    },
    /// One of the two does not accept the other's certificate.
    #[error("no trust between this node and {addr}")]
    Tls {
        /// Its address.
        addr: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The other side answered with an error.
    #[error("{}", .0.message())]
    Refused(Status),
    /// A text that should be a join token is none.
    #[error(transparent)]
    Token(#[from] crate::InvalidToken),
    /// A certificate, key or signing request makes no sense.
    #[error("{what} cannot be used: {why}")]
    Certificate {
        /// What it is.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// A file of this node's identity cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
    /// The port cannot be served.
    #[error("the managers' port cannot be served")]
    Serve(#[source] tonic::transport::Error),
}

impl PeerError {
    pub(crate) fn certificate(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Certificate { what, why: why.to_string() }
    }
}

impl From<Status> for PeerError {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}
