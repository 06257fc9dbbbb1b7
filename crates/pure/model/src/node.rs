//! A machine in the swarm.

use crate::spec::{Labels, Platform};
use crate::{Mac, Meta, NetworkId, NodeId, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A machine in the swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Identity; also the common name of its certificate.
    pub id: NodeId,
    /// Version and times.
    pub meta: Meta,
    /// What the user asked.
    pub spec: NodeSpec,
    /// What the node told of itself.
    pub description: NodeDescription,
    /// What was last observed of it.
    pub status: NodeStatus,
    /// Managers only: where the others reach it, `address:port`.
    pub manager_addr: Option<String>,
    /// Managers only: its number in the consensus group.
    pub raft_id: Option<u64>,
    /// Its own endpoint on each network that needs one (the ingress sandbox's address).
    pub attachments: BTreeMap<NetworkId, NodeAttachment>,
    /// PEM of its current certificate's public key digest, hexadecimal sha-256; what identifies the machine.
    pub certificate_digest: String,
}

/// A node's own endpoint on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAttachment {
    /// Addresses with the network's prefix lengths, one of each of its families, IPv4 first.
    pub addresses: Vec<IpNet>,
    /// Ethernet address.
    pub mac: Mac,
}

/// What a user may set of a node, in Docker's spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeSpec {
    /// A name, unused by Docker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels for placement.
    pub labels: Labels,
    /// Manager or worker.
    pub role: NodeRole,
    /// Whether it takes tasks.
    pub availability: Availability,
}

/// Manager or worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Runs tasks.
    #[default]
    Worker,
    /// Holds the cluster's state, too.
    Manager,
}

impl NodeRole {
    /// Docker's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// Takes tasks.
    #[default]
    #[serde(alias = "")]
    Active,
    /// Keeps its tasks, takes no new ones.
    Pause,
    /// Its tasks move away.
    Drain,
}

/// What a node tells of itself, in Docker's spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeDescription {
    /// Its hostname.
    pub hostname: String,
    /// Processor and operating system.
    pub platform: Platform,
    /// CPUs and memory.
    pub resources: NodeResources,
    /// The engine's version and labels.
    pub engine: EngineDescription,
    /// Subnets that it has routes to already, which pools must avoid.
    #[serde(rename = "X-Routes")]
    pub routes: Vec<IpNet>,
}

/// CPUs and memory of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeResources {
    /// Billionths of a CPU.
    #[serde(rename = "NanoCPUs")]
    pub nano_cpus: i64,
    /// Bytes of memory.
    #[serde(rename = "MemoryBytes")]
    pub memory_bytes: i64,
}

/// The engine on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EngineDescription {
    /// Its version.
    pub engine_version: String,
    /// Labels given to the daemon.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Drivers it has.
    pub plugins: Vec<EnginePlugin>,
}

/// A driver that an engine has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EnginePlugin {
    /// `Network`, `Volume` or `Log`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Driver name.
    pub name: String,
}

/// What was last observed of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Ready or down.
    pub state: NodeState,
    /// Why.
    pub message: String,
    /// The address its session comes from, or that it advertises.
    pub addr: String,
    /// Where its VXLAN traffic goes; the same as `addr` unless a data-path address was given.
    pub data_path_addr: Option<IpAddr>,
    /// When the state last changed.
    pub since: Timestamp,
}

/// Whether a node can be counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Not heard of yet.
    #[default]
    Unknown,
    /// Its heartbeats stopped.
    Down,
    /// It sends heartbeats.
    Ready,
    /// It left.
    Disconnected,
}

impl NodeState {
    /// Docker's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
        }
    }
}
