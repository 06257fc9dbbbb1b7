//! What managers and nodes say to each other. JSON of the model's own types, in gRPC frames.

use crate::AssignmentDiff;
use serde::{Deserialize, Serialize};
use shoal_model::assignment::Connections;
use shoal_model::node::{Availability, NodeDescription, NodeRole};
use shoal_model::spec::Nanos;
use shoal_model::trace::Holdings;
use shoal_model::verdict::{Comparison, Verdict};
use shoal_model::{Assignment, ClusterId, NodeId, TaskId, TaskReport, Timestamp};
use std::net::IpAddr;

/// The version of everything in this file. Both ends of a session must speak the same.
pub const PROTOCOL: u32 = 1;

/// The largest message either end takes, bytes.
pub const MESSAGE_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// A machine asks to become a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The join token, `SWMTKN-1-…`; it also says as what.
    pub token: String,
    /// PEM of a certificate signing request; the key stays on the machine.
    pub csr_pem: String,
    /// The machine's host name.
    pub hostname: String,
    /// Whether it takes tasks at once.
    pub availability: Availability,
    /// The address that it advertises, `address:port`; empty if the manager may take where it comes from.
    pub advertise_addr: String,
    /// Where its VXLAN traffic goes, if not to the advertised address.
    pub data_path_addr: Option<IpAddr>,
}

/// The machine is a node now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReply {
    /// Its identity.
    pub node_id: NodeId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// As what it joined.
    pub role: NodeRole,
    /// PEM of its certificate.
    pub certificate: String,
    /// PEM of the cluster's root certificate.
    pub root_ca: String,
    /// Addresses of all managers, `address:port`.
    pub managers: Vec<String>,
}

/// A node asks for a new certificate for its key. What it says is up to the managers: the role may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// PEM of a certificate signing request.
    pub csr_pem: String,
}

/// The new certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewReply {
    /// PEM of the node's certificate.
    pub certificate: String,
    /// PEM of the cluster's root certificate.
    pub root_ca: String,
}

/// A node with a manager's certificate asks to be let into the consensus group. It must be listening already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerJoin {
    /// Where the other managers reach it, `address:port`.
    pub addr: String,
    /// Its number in the group if it has one already (it was restarted, or its address has changed).
    pub raft_id: Option<u64>,
}

/// It is let in: it must open its log with this number, and gets the rest from the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerJoined {
    /// Its number in the group.
    pub raft_id: u64,
    /// Addresses of all managers, `address:port`.
    pub managers: Vec<String>,
}

/// What became of a write forwarded to the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposeReply {
    /// It is written as this log entry.
    Applied(u64),
    /// The state refused it.
    Rejected(shoal_store::Rejected),
}

/// The first words of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What the node tells of itself.
    pub description: NodeDescription,
    /// The address that it advertises; empty if the manager may take where it comes from.
    pub addr: String,
    /// Where its VXLAN traffic goes, if not to that address.
    pub data_path_addr: Option<IpAddr>,
}

/// How far a node has come with what it was told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The newest assignment that the node holds in full, kernel and all.
    pub applied: u64,
    /// The digest of the assignment that its kernel was last found to hold without any difference; empty while it
    /// differs.
    pub digest: String,
}

/// A node says this often that it is alive, whatever else it says. The managers' patience is measured by it.
pub const ALIVE_PERIOD: std::time::Duration = std::time::Duration::from_millis(200);

/// What a node says in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeMessage {
    /// First of all.
    Hello(Box<Hello>),
    /// It is alive. Every [`ALIVE_PERIOD`].
    Alive,
    /// It is alive and holds this much. Every heartbeat period, and whenever it has come further.
    Heartbeat {
        /// The newest assignment that it has received; 0 before the first.
        received: u64,
        /// How far it has come.
        progress: Progress,
    },
    /// What it saw of its tasks, everything at the start of a session and then what changed.
    Reports(Vec<TaskReport>),
    /// The connections that it gives to the tasks of services whose scheduler goes by them: with every heartbeat and,
    /// when they have moved, every half second at most.
    Connections(Connections),
    /// It has changed.
    Description(Box<NodeDescription>),
    /// A difference did not fit what it holds: it needs the whole assignment.
    NeedAssignment,
}

/// What a manager says in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ManagerMessage {
    /// All that the node should hold.
    Assignment(Box<Assignment>),
    /// How that has changed.
    AssignmentDiff(Box<AssignmentDiff>),
    /// Time between heartbeats.
    HeartbeatPeriod(Nanos),
    /// Addresses of all managers, the leader's first.
    Managers(Vec<String>),
    /// The node must ask for a new certificate now: its role has changed, or certificates are rotated.
    RenewCertificate,
    /// The node must open a stream.
    Stream(StreamRequest),
}

/// Asks a node for a stream: the node calls back with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRequest {
    /// Chosen by the manager, unguessable.
    pub id: String,
    /// What is to flow.
    pub kind: StreamKind,
}

/// What is to flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamKind {
    /// A task's output, as [`crate::Frame::Log`] frames.
    Logs {
        /// Of which task.
        task: TaskId,
        /// Which part of it.
        query: LogQuery,
    },
    /// A program run in a task's container: input one way, [`crate::Frame::Stdout`] and [`crate::Frame::Stderr`] the
    /// other, its status as [`crate::Control::Exit`].
    Exec {
        /// In which task.
        task: TaskId,
        /// What to run.
        request: ExecRequest,
    },
    /// A question, answered by one [`crate::Control::Answer`].
    Question(Question),
}

/// What a manager can ask a node about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Does its kernel hold what it was told to? It changes nothing.
    Compare,
    /// What does it hold, for following a connection?
    Holdings,
    /// The same as [`Question::Compare`] of every node, asked of the one that leads.
    CompareAll {
        /// Only by the digests that the nodes have told with their heartbeats.
        quick: bool,
    },
}

/// What is answered to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Compare`].
    Comparison(Comparison),
    /// To [`Question::Holdings`].
    Holdings(Box<Holdings>),
    /// To [`Question::CompareAll`].
    Verdict(Verdict),
}

/// Which part of a task's output is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    /// Go on with new lines until the task's container is removed.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Only lines at or after this time; never means all.
    pub since: Timestamp,
    /// Only lines before this time; never means all.
    pub until: Timestamp,
    /// Only this many lines from the end.
    pub tail: Option<u64>,
}

/// A program to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// Further variables, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; empty is the container's.
    pub working_dir: String,
    /// `user[:group]`; empty is the container's.
    pub user: String,
    /// With every capability.
    pub privileged: bool,
    /// With a terminal.
    pub tty: bool,
    /// Whether input is sent.
    pub stdin: bool,
    /// Rows and columns of the terminal at the start.
    pub console_size: Option<(u16, u16)>,
}

/// A manager asks the one that holds a node's session for a stream from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRequest {
    /// From which node.
    pub node: NodeId,
    /// What is to flow.
    pub kind: StreamKind,
}

/// A duration as it travels; nonsense becomes a second.
pub(crate) fn nanos_to_duration(nanos: Nanos) -> std::time::Duration {
    let whole = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0);
    whole.map_or(std::time::Duration::from_secs(1), std::time::Duration::from_nanos)
}
