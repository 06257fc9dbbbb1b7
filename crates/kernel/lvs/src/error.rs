//! What can go wrong at this crate's border.

use std::io;
use std::path::PathBuf;

/// Why the virtual server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This kernel or machine lacks something that the engine needs.
    #[error("the ebpf engine cannot run here: {what}")]
    Unsupported {
        /// What is missing.
        what: String,
        /// The kernel's answer, where there was one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The programs could not be loaded.
    #[error("loading the BPF programs failed")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A system call failed.
    #[error("{what} failed")]
    System {
        /// What was attempted.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file or directory could not be used.
    #[error("{what} {}", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a message, or did not answer.
    #[error("{what}")]
    Netlink {
        /// What was attempted.
        what: String,
        /// The kernel's answer.
        #[source]
        source: shoal_netlink::Error,
    },
    /// The declared table holds something that the engine cannot carry.
    #[error("the table cannot be carried out: {0}")]
    Table(String),
}

/// The kernel's own error number where netlink gave one.
pub(crate) fn of_netlink(error: shoal_netlink::Error) -> io::Error {
    match error.errno() {
        Some(errno) => errno.into(),
        None => io::Error::other(error),
    }
}

impl Error {
    /// The error with all its sources, in one line.
    pub(crate) fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }

    pub(crate) fn system(what: impl Into<String>, source: io::Error) -> Self {
        Self::System { what: what.into(), source }
    }
}
