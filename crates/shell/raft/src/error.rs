//! What can go wrong.

use crate::LeaderHint;
use shoal_store::Rejected;
use std::path::PathBuf;

/// Why a write, or a read that must be current, did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The state refused the batch; it left no trace.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another manager leads, or none does at the moment.
    #[error("this manager is not the leader")]
    NotLeader {
        /// Whom to ask instead.
        leader: Option<LeaderHint>,
    },
    /// No majority of managers answered in time. (The words are Docker's.)
    #[error(
        "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."
    )]
    NoQuorum,
    /// The batch is too large for one message between managers.
    #[error("{bytes} bytes are too much for one change of the swarm's state, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// This manager is being stopped.
    #[error("this manager is shutting down")]
    ShuttingDown,
    /// Its disk failed; it takes no more part until it is restarted.
    #[error("the replicated log cannot be written: {0}")]
    Storage(String),
    /// The group's membership cannot be changed so.
    #[error("the managers cannot be changed: {0}")]
    Membership(String),
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("{} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a log already where a new one was to be made.
    #[error("{} holds a swarm's state already", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no log, or its making was never finished.
    #[error("{} does not hold a swarm's state", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// What is there cannot be read.
    #[error("the state in {} is damaged: {what}", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The disk failed.
    #[error("the state in {} cannot be opened: {what}", dir.display())]
    Storage {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The first entry was refused.
    #[error("the swarm's first entry was not written")]
    First(#[source] ProposeError),
}

/// Why a message did not reach another manager, or got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The manager cannot be reached; trying again at once is useless.
    #[error("manager at {addr} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        addr: String,
        /// Why.
        why: String,
    },
    /// The connection broke or the answer makes no sense.
    #[error("manager at {addr} did not answer: {why}")]
    Broken {
        /// Its address.
        addr: String,
        /// Why.
        why: String,
    },
}

/// Why a message from another manager was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It is no message of this protocol.
    #[error("malformed consensus message: {0}")]
    Malformed(String),
    /// It is for another manager: an address was used again.
    #[error("consensus message for manager {wanted:x} arrived at manager {here:x}")]
    WrongManager {
        /// For whom it is.
        wanted: u64,
        /// Who got it.
        here: u64,
    },
    /// This manager is stopped or its disk failed.
    #[error("this manager does not take part: {0}")]
    Stopped(String),
}
