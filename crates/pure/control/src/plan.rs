//! What the control loop answers with.

use shoal_model::{NetworkId, NodeId, ServiceId, TaskId, Timestamp};
use shoal_store::{Change, Rejected};

/// What must change, why, and when to look again although nothing has happened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// To be proposed as one batch; empty when all is as it should be.
    pub changes: Vec<Change>,
    /// What was noticed and decided, for logs and for people.
    pub report: Vec<Report>,
    /// When something becomes due by itself: a restart delay, an update's monitor, a node's grace.
    pub next: Option<Timestamp>,
}

/// One thing noticed or decided. As data, so that every shell can show it its own way.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Report {
    /// A node's heartbeats stopped.
    #[error("node {node} is down")]
    NodeDown {
        /// The node.
        node: NodeId,
    },
    /// A node's heartbeats came back, or came first.
    #[error("node {node} is ready")]
    NodeReady {
        /// The node.
        node: NodeId,
    },
    /// A task gives its slot up, and whether another takes it.
    #[error("task {task} of {service} leaves: {why}")]
    TaskLeaves {
        /// The task.
        task: TaskId,
        /// Its service.
        service: ServiceId,
        /// Why.
        why: Leaving,
        /// The task that takes its slot, unless the restart policy forbids.
        replaced_by: Option<TaskId>,
    },
    /// A task waits for a node; the reason is in its status, too.
    #[error("task {task} waits: {reason}")]
    TaskWaits {
        /// The task.
        task: TaskId,
        /// Docker's words.
        reason: String,
    },
    /// A network could not be given what it needs.
    #[error("network {network}: {trouble}")]
    Network {
        /// The network.
        network: NetworkId,
        /// What is wanting.
        trouble: AllocationTrouble,
    },
    /// A service's update was stopped or turned back.
    #[error("update of service {service}: {message}")]
    Update {
        /// The service.
        service: ServiceId,
        /// Docker's words.
        message: String,
    },
    /// A change that the planner wanted contradicts the state.
    #[error("a change was not possible")]
    NotPossible(#[source] Rejected),
}

/// Why a task leaves its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Leaving {
    /// It ended by itself.
    #[error("it ended")]
    Ended,
    /// Its node is down.
    #[error("its node is down")]
    NodeDown,
    /// Its node drains.
    #[error("its node drains")]
    NodeDrains,
    /// Its node has been removed.
    #[error("its node is gone")]
    NodeGone,
    /// Its node no longer meets the placement constraints.
    #[error("its node no longer meets constraints")]
    Constraint,
}

/// What an allocation failed for want of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationTrouble {
    /// No subnet is left in the pools that no network and no host uses.
    #[error("no free subnet in the address pools")]
    NoSubnet,
    /// No address is left in the network's subnets.
    #[error("no free address")]
    NoAddress,
    /// No VXLAN network identifier is left.
    #[error("no free VXLAN network identifier")]
    NoVni,
    /// No port is left in the dynamic range.
    #[error("no free port")]
    NoPort,
}
