//! What the balancer holds: virtual services and their real servers, in the words of LVS.
//!
//! A [`Table`] is the whole declared state of one node's virtual server. It is computed in pure code; the engines
//! compare it with what the kernel holds and repair the difference.

use crate::netns::NamespaceName;
use crate::spec::Protocol;
use crate::{Mac, NetworkId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Real servers of one virtual service at most; a bound on ring sizes in the kernel.
pub const RING_SLOTS_MAX: usize = 4096;

/// Everything one node's virtual server holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// The virtual services.
    pub services: BTreeMap<VirtualServiceKey, VirtualService>,
    /// Namespaces whose own connections to virtual addresses are balanced, with the networks each one is on.
    pub sandboxes: BTreeMap<NamespaceName, BTreeSet<NetworkId>>,
    /// The routing mesh, once this node has its ingress endpoint.
    pub mesh: Option<Mesh>,
}

/// What clients address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VirtualServiceKey {
    /// A virtual address on an overlay network, every port and protocol of it.
    EastWest {
        /// The network.
        network: NetworkId,
        /// The virtual address.
        vip: IpAddr,
    },
    /// A published port of every node.
    Ingress {
        /// Transport protocol.
        protocol: Protocol,
        /// Published port.
        port: u16,
    },
}

/// One virtual service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualService {
    /// The service's name, for people.
    pub name: String,
    /// How a real server is chosen.
    pub scheduler: Scheduler,
    /// The real servers, those with weight 0 too: they get no new connections and keep the old.
    pub real_servers: Vec<RealServer>,
    /// Indexes into `real_servers`; the kernel picks `ring[next % len]` or `ring[hash % len]`.
    pub ring: Vec<u16>,
}

/// How a real server is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Scheduler {
    /// One after the other.
    #[default]
    RoundRobin,
    /// By the client's address.
    SourceHash,
}

impl Scheduler {
    /// The short name that `ipvsadm` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::SourceHash => "sh",
        }
    }
}

/// One task behind a virtual service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RealServer {
    /// The task.
    pub task: TaskId,
    /// Its address on the service's network (on the ingress network for published ports).
    pub address: IpAddr,
    /// Its Ethernet address there.
    pub mac: Mac,
    /// The port that it listens on, for published ports; 0 keeps the client's port.
    pub port: u16,
    /// Share of new connections; 0 while it drains.
    pub weight: u32,
}

/// Where the routing mesh hooks into the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// Addresses of the node itself: a packet to one of them and a published port is for the mesh.
    pub node_addresses: BTreeSet<IpAddr>,
    /// The address that the node's own processes connect from.
    pub own_address: IpAddr,
    /// Links of the host namespace on which clients arrive.
    pub uplinks: BTreeSet<String>,
    /// The ingress sandbox.
    pub sandbox: NamespaceName,
    /// The sandbox's link on the ingress network (`eth0`).
    pub sandbox_ingress_link: String,
    /// Its Ethernet address: replies of tasks come back to it.
    pub sandbox_ingress_mac: Mac,
    /// The sandbox's link on `docker_gwbridge` (`eth1`).
    pub sandbox_gateway_link: String,
    /// The host's end of that link.
    pub host_gateway_port: String,
    /// The namespace of the ingress network, with the host ends of the tasks' links.
    pub overlay: NamespaceName,
    /// This node's own tasks on the ingress network.
    pub tasks: BTreeMap<TaskId, MeshTask>,
}

/// One local task behind published ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshTask {
    /// Its sandbox: datagrams that it sends in answer to a client must leave from its ingress address.
    pub sandbox: NamespaceName,
    /// The host's end of its ingress link, in the ingress network's namespace.
    pub port_link: String,
    /// Its address on the ingress network.
    pub address: IpAddr,
    /// Its Ethernet address there.
    pub mac: Mac,
    /// Its published ports.
    pub ports: BTreeSet<PortMapping>,
}

/// A published port and the port that the task listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port on every node.
    pub published: u16,
    /// Port of the task.
    pub target: u16,
}

/// Live counters of one real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Connections now established.
    pub active: u64,
    /// Connections known but not established (closing, or never answered).
    pub inactive: u64,
    /// Connections ever scheduled to it.
    pub connections: u64,
}
