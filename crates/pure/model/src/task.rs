//! A task: one attempt to run one container in one slot of a service. Tasks are one-shot; a task that ended is
//! replaced by a new one in the same slot. Desired and observed state are two fields with two owners, and the observed
//! state only moves forward (swarmkit's task model).

use crate::spec::{PortConfig, TaskSpec};
use crate::{Meta, NetworkId, NodeId, ServiceId, TaskId, Timestamp, Version};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The states of a task in the only order in which they can follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Made by the orchestrator.
    #[default]
    New,
    /// Addresses and ports are allocated; waiting for a node.
    Pending,
    /// A node is chosen.
    Assigned,
    /// The node knows of it.
    Accepted,
    /// The node fetches the image and sets up networks.
    Preparing,
    /// Everything is prepared; waiting for permission to start.
    Ready,
    /// The container is being started.
    Starting,
    /// The container runs (and is healthy, where that is probed).
    Running,
    /// It ended with status 0.
    Complete,
    /// It was stopped because it was told to.
    Shutdown,
    /// It ended otherwise.
    Failed,
    /// The node could not even prepare it.
    Rejected,
    /// Only ever desired: to be removed from the store once it has stopped.
    Remove,
    /// Its node has been gone for so long that nothing can be said of it.
    Orphaned,
}

impl TaskState {
    /// True when the task will never run again.
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }

    /// Docker's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Who may make a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// The allocating phase of the control loop.
    Allocator,
    /// The scheduling phase of the control loop.
    Scheduler,
    /// The node that the task is assigned to.
    Agent,
    /// The control loop, for tasks that no node works on (never assigned) or whose node is gone.
    Orchestrator,
}

/// Every allowed move of a task's observed state. Two properties are tested: moves only go forward, and while a task is
/// in a given state exactly one component may move it in the normal course (the orchestrator alone may declare a task
/// ended that no node can report on).
pub const TRANSITIONS: &[(Owner, TaskState, TaskState)] = {
    use Owner::{Agent, Allocator, Orchestrator, Scheduler};
    use TaskState::{
        Accepted, Assigned, Complete, Failed, New, Orphaned, Pending, Preparing, Ready, Rejected, Running,
        Shutdown, Starting,
    };
    &[
        (Allocator, New, Pending),
        (Scheduler, Pending, Assigned),
        (Agent, Assigned, Accepted),
        (Agent, Assigned, Preparing),
        (Agent, Assigned, Ready),
        (Agent, Assigned, Starting),
        (Agent, Assigned, Running),
        (Agent, Assigned, Complete),
        (Agent, Assigned, Shutdown),
        (Agent, Assigned, Failed),
        (Agent, Assigned, Rejected),
        (Agent, Accepted, Preparing),
        (Agent, Accepted, Ready),
        (Agent, Accepted, Starting),
        (Agent, Accepted, Running),
        (Agent, Accepted, Complete),
        (Agent, Accepted, Shutdown),
        (Agent, Accepted, Failed),
        (Agent, Accepted, Rejected),
        (Agent, Preparing, Ready),
        (Agent, Preparing, Starting),
        (Agent, Preparing, Running),
        (Agent, Preparing, Complete),
        (Agent, Preparing, Shutdown),
        (Agent, Preparing, Failed),
        (Agent, Preparing, Rejected),
        (Agent, Ready, Starting),
        (Agent, Ready, Running),
        (Agent, Ready, Complete),
        (Agent, Ready, Shutdown),
        (Agent, Ready, Failed),
        (Agent, Ready, Rejected),
        (Agent, Starting, Running),
        (Agent, Starting, Complete),
        (Agent, Starting, Shutdown),
        (Agent, Starting, Failed),
        (Agent, Running, Complete),
        (Agent, Running, Shutdown),
        (Agent, Running, Failed),
        (Orchestrator, New, Shutdown),
        (Orchestrator, Pending, Shutdown),
        (Orchestrator, Assigned, Orphaned),
        (Orchestrator, Accepted, Orphaned),
        (Orchestrator, Preparing, Orphaned),
        (Orchestrator, Ready, Orphaned),
        (Orchestrator, Starting, Orphaned),
        (Orchestrator, Running, Orphaned),
    ]
};

/// Whether `owner` may move a task from one state to another. Staying is always allowed.
pub fn may_move(owner: Owner, from: TaskState, to: TaskState) -> bool {
    from == to || TRANSITIONS.contains(&(owner, from, to))
}

/// What was last observed of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskStatus {
    /// When.
    pub timestamp: Timestamp,
    /// The state.
    pub state: TaskState,
    /// A word on it, such as `started`.
    pub message: String,
    /// What went wrong, or why it waits.
    pub err: String,
    /// The container, once there is one.
    pub container: Option<ContainerStatus>,
}

/// The container of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// 64 hexadecimal characters.
    pub container_id: String,
    /// Process id on its host, 0 when it does not run.
    pub pid: u32,
    /// Exit status, 0 while it runs.
    pub exit_code: i32,
}

/// An address of a task on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network.
    pub network: NetworkId,
    /// Addresses with the network's prefix length.
    pub addresses: Vec<IpNet>,
    /// Further DNS names on this network.
    pub aliases: Vec<String>,
}

/// One attempt to run one container of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Identity.
    pub id: TaskId,
    /// Version and times.
    pub meta: Meta,
    /// The service it belongs to.
    pub service: ServiceId,
    /// The service's name when the task was made, for names of containers.
    pub service_name: String,
    /// Slot from 1 for replicated services; 0 for global ones.
    pub slot: u64,
    /// The chosen node; for global services from the start.
    pub node: Option<NodeId>,
    /// The template it was made from.
    pub spec: TaskSpec,
    /// The version of the service's spec that it was made from.
    pub spec_version: Version,
    /// Where the cluster wants it: `Ready`, `Running`, `Shutdown` or `Remove`. Only moves forward.
    pub desired: TaskState,
    /// Where it was last seen. Only moves forward.
    pub status: TaskStatus,
    /// Allocated addresses.
    pub attachments: Vec<Attachment>,
    /// Host-mode ports with their allocated numbers.
    pub host_ports: Vec<PortConfig>,
    /// The job iteration, for tasks of jobs.
    pub job_iteration: Option<u64>,
    /// Not to be started before this time (restart delay); never means at once.
    pub start_after: Timestamp,
    /// When it was first seen running; never until then. By the log's clock, not the node's.
    #[serde(default)]
    pub running_since: Timestamp,
}

impl Task {
    /// The name of its container without the leading slash: `<service>.<slot or node id>.<task id>`.
    pub fn container_name(&self) -> String {
        format!("{}.{}", self.name(), self.id)
    }

    /// `<service>.<slot>`, or `<service>.<node id>` for global services.
    pub fn name(&self) -> String {
        match (&self.node, self.slot) {
            (Some(node), 0) => format!("{}.{node}", self.service_name),
            _ => format!("{}.{}", self.service_name, self.slot),
        }
    }

    /// True when it should run and does.
    pub fn serves(&self) -> bool {
        self.status.state == TaskState::Running && self.desired <= TaskState::Running
    }

    /// Its address on `network`.
    pub fn address_on(&self, network: &NetworkId) -> Option<IpNet> {
        self.attachments.iter().find(|a| &a.network == network)?.addresses.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn states_only_move_forward() {
        for (owner, from, to) in TRANSITIONS {
            assert!(from < to, "{owner:?} moves {from:?} back to {to:?}");
        }
    }

    #[test]
    fn one_component_owns_each_state_besides_the_orchestrators_last_word() {
        let mut owners: BTreeMap<TaskState, Owner> = BTreeMap::new();
        for (owner, from, _) in TRANSITIONS.iter().filter(|(owner, ..)| *owner != Owner::Orchestrator) {
            let first = owners.entry(*from).or_insert(*owner);
            assert_eq!(first, owner, "{from:?} has two owners");
        }
    }

    #[test]
    fn nothing_leaves_a_terminal_state() {
        assert!(TRANSITIONS.iter().all(|(_, from, _)| !from.is_terminal()));
    }
}
