//! What can go wrong between a request and its answer.

use nix::errno::Errno;
use std::io;

/// Why the kernel did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's error, with its own words where it gave some.
    #[error("{}{}", errno, words.as_ref().map(|w| format!(" ({w})")).unwrap_or_default())]
    Kernel {
        /// Error number.
        errno: Errno,
        /// Words of the extended acknowledgement.
        words: Option<String>,
    },
    /// The netlink socket failed.
    #[error("netlink socket: {0}")]
    Socket(io::Error),
    /// The kernel's answer did not come in time.
    #[error("the kernel did not answer in time")]
    Timeout,
    /// The kernel's answer cannot be understood.
    #[error("the kernel's answer cannot be understood: {0}")]
    Malformed(String),
    /// A dump was interrupted by changes again and again.
    #[error("the kernel's tables kept changing while they were read")]
    Unsteady,
}

impl Error {
    /// The kernel's error number, where it gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// The `Malformed` error with these words.
    pub(crate) fn malformed(words: &str) -> Self {
        Self::Malformed(words.to_owned())
    }
}
