//! What one node is told to hold, and what it was seen to hold.

use crate::node::NodeAttachment;
use crate::spec::{PortConfig, TaskSpec};
use crate::task::Attachment;
use crate::{
    Config, ConfigId, Mac, Network, NetworkId, NodeId, Secret, SecretId, ServiceId, TaskId, TaskState,
    TaskStatus, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Everything one node should hold. Managers send it whole, then its differences; the node never reads anything else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Assignment {
    /// The log index of the state that it was computed from.
    pub version: u64,
    /// The node's tasks: those to run, and those to stop until they have stopped.
    pub tasks: BTreeMap<TaskId, TaskAssignment>,
    /// Networks that the node takes part in: ingress, and those of its tasks.
    pub networks: BTreeMap<NetworkId, NetworkAssignment>,
    /// Secrets of its tasks.
    pub secrets: BTreeMap<SecretId, Secret>,
    /// Configs of its tasks.
    pub configs: BTreeMap<ConfigId, Config>,
}

/// One task of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskAssignment {
    /// The task.
    pub id: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// Its service's name.
    pub service_name: String,
    /// Labels of its service, for options such as `shoal.lb.scheduler`.
    pub service_labels: crate::spec::Labels,
    /// Credentials for the image's registry (`X-Registry-Auth`), if its service has any.
    #[serde(default)]
    pub registry_auth: Option<String>,
    /// Its slot, 0 for global services.
    pub slot: u64,
    /// What to run.
    pub spec: TaskSpec,
    /// Where the cluster wants it.
    pub desired: TaskState,
    /// The state that the managers hold, so that the node never reports an older one.
    pub known: TaskState,
    /// Its addresses.
    pub attachments: Vec<Attachment>,
    /// Host-mode ports with their numbers.
    pub host_ports: Vec<PortConfig>,
    /// Not to be started before this time.
    pub start_after: Timestamp,
    /// The name of its container.
    pub container_name: String,
    /// Of a task that is to stop: no node gives it new connections any more, as the nodes themselves have said.
    #[serde(default)]
    pub withdrawn: bool,
}

/// One network of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkAssignment {
    /// The network.
    pub network: Network,
    /// UDP port of VXLAN in this cluster.
    pub data_path_port: u16,
    /// The node's own endpoint (on the ingress network).
    pub own: Option<NodeAttachment>,
    /// Every endpoint on the network, this node's too, by the id of the task or node that holds it.
    pub endpoints: BTreeMap<String, NetworkEndpoint>,
    /// Every service on the network.
    pub services: BTreeMap<ServiceId, ServiceOnNetwork>,
    /// Nodes that take part, with their tunnel addresses (`docker network inspect` shows them as peers).
    pub peers: BTreeMap<NodeId, IpAddr>,
}

/// An endpoint on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEndpoint {
    /// Its addresses, one of each of the network's families, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The node that it is on.
    pub node: NodeId,
    /// That node's tunnel address.
    pub tunnel: IpAddr,
}

/// A service as seen on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOnNetwork {
    /// Its name.
    pub name: String,
    /// Its labels, for options such as `shoal.lb.scheduler`.
    pub labels: crate::spec::Labels,
    /// Its virtual addresses, one of each of the network's families, IPv4 first; none with DNS round robin.
    pub vips: Vec<IpAddr>,
    /// Its published ports (on the ingress network only).
    pub ports: Vec<PortConfig>,
    /// Its running tasks.
    pub tasks: BTreeMap<TaskId, TaskOnNetwork>,
}

/// A running task as seen on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOnNetwork {
    /// `<service>.<slot>`.
    pub name: String,
    /// Name of its container.
    pub container_name: String,
    /// Its addresses, one of each of the network's families, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The node that it is on.
    pub node: NodeId,
    /// Further DNS names.
    pub aliases: Vec<String>,
    /// Share of new connections; 0 while it drains or its node is suspected.
    pub weight: u32,
    /// Connections that the whole cluster gives it, roughly; told only where the service's scheduler goes by them.
    #[serde(default)]
    pub connections: u64,
}

/// Live connections by service and task; tasks without any may be left out.
pub type Connections = BTreeMap<ServiceId, BTreeMap<TaskId, u64>>;

/// What a node reports of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub id: TaskId,
    /// What was observed.
    pub status: TaskStatus,
}

/// What a node was seen to hold, apart from its namespaces ([`crate::netns::Namespaces`]).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// Containers of tasks.
    pub containers: BTreeMap<TaskId, ObservedContainer>,
    /// Images asked for by tasks, by the reference in the spec.
    pub images: BTreeMap<String, ImageState>,
    /// What went wrong with a task's last step, if anything.
    pub failures: BTreeMap<TaskId, StepFailure>,
    /// How far the tasks are with leaving that were told to stop while their containers ran.
    #[serde(default)]
    pub draining: BTreeMap<TaskId, Draining>,
}

/// How far a task is with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// When this node first heard that it is to stop.
    pub told_at: Timestamp,
    /// When this node first heard that no node gives it new connections any more.
    pub withdrawn_at: Option<Timestamp>,
    /// Live connections from outside to its listening ports; once its container was told to stop, those of that moment.
    pub connections: u32,
}

/// Whether an image is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageState {
    /// Not there, and nobody fetches it.
    Missing,
    /// Being fetched.
    Fetching,
    /// There.
    Present,
    /// Could not be fetched.
    Failed(String),
}

/// A task's container as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedContainer {
    /// Its id, 64 hexadecimal characters.
    pub id: String,
    /// Its state.
    pub state: ContainerState,
    /// Its health, where that is probed.
    pub health: Option<Health>,
    /// When it was told to stop.
    pub stopping_since: Option<Timestamp>,
}

/// A container's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Running.
    Running {
        /// Process id on the host.
        pid: u32,
        /// Since when.
        started_at: Timestamp,
    },
    /// Ended.
    Exited {
        /// Its status: 0 to 255, 128 + n for signal n.
        code: i32,
        /// When.
        finished_at: Timestamp,
        /// Whether the kernel killed it for want of memory.
        out_of_memory: bool,
    },
}

/// A container's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not known yet.
    Starting,
    /// Probes succeed.
    Healthy,
    /// Probes fail.
    Unhealthy,
}

/// Why a step for a task did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// What happened.
    pub message: String,
    /// Whether trying again may help; if not, the task is rejected (before it started) or failed.
    pub retry: bool,
    /// When.
    pub at: Timestamp,
    /// How often this step has failed in a row, this time included; the pause before the next try grows with it.
    #[serde(default)]
    pub attempts: u32,
}

/// What a node can be told to do for a task. Each is idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskOp {
    /// Fetch the image.
    FetchImage {
        /// The task that wants it.
        task: TaskId,
        /// The reference in its spec.
        image: String,
    },
    /// Make the container (root file system, bundle) in the task's sandbox.
    Create(TaskId),
    /// Start it.
    Start(TaskId),
    /// Ask it to stop: the stop signal now, SIGKILL after the grace period.
    Stop(TaskId),
    /// Remove its container and all that belongs to it, logs too.
    Remove(TaskId),
}
