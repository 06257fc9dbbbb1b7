//! Node to node: who a machine is, how it joins, and what managers and nodes say to each other.
//!
//! Owns the certificate authority and join tokens, each machine's identity on disk, the one TCP port with mutual TLS
//! that managers listen on, and the calls over it: join, renew, the node session (assignments one way, statuses the
//! other), streams for logs and exec, and the managers' own traffic (consensus messages, forwarded writes).
//!
//! Must never: decide (it carries what `shoal-control` computed), keep cluster state, or let a machine without the right
//! certificate through: the table in `access.rs` says which call needs which.
#![forbid(unsafe_code)]

mod acceptor;
mod access;
mod broker;
mod ca;
mod certificate;
mod client;
mod clock;
mod codec;
mod connector;
mod credentials;
mod diff;
mod error;
mod feed;
mod frame;
mod identity;
mod join;
mod manager_session;
mod protocol;
mod provider;
mod renewal;
mod retry;
mod server;
mod service;
mod session;
mod token;

pub use broker::{Broker, RemoteStream};
pub use ca::{RootCa, root_digest};
pub use certificate::PeerIdentity;
pub use client::PeerClient;
pub use connector::Connector;
pub use credentials::Credentials;
pub use diff::{AssignmentDiff, DiffMismatch, MapDiff, NetworkDiff};
pub use error::PeerError;
pub use feed::AssignmentFeed;
pub use frame::{Control, Frame, LogLine};
pub use identity::{Identity, IdentityFiles, NodeKey};
pub use join::{JoinIntent, join};
pub use manager_session::{SessionInputs, drive_session};
pub use protocol::{
    ALIVE_PERIOD, Answer, ExecRequest, Hello, JoinReply, JoinRequest, LogQuery, MESSAGE_LIMIT_BYTES,
    ManagerJoin, ManagerJoined, ManagerMessage, NodeMessage, PROTOCOL, Progress, ProposeReply, Question,
    RelayRequest, RenewReply, RenewRequest, StreamKind, StreamRequest,
};
pub use provider::provider;
pub use renewal::keep_certificate_fresh;
pub use server::serve;
pub use service::{Inbound, ManagerService, Outbound, leader_of, not_leader};
pub use session::{NodeSession, SessionState, StreamHandler, StreamIo, run_session};
pub use token::{InvalidToken, JoinToken, role_of_token};
pub use tonic::{Code, Status};
