//! What the balancer holds: virtual services and their real servers, in the words of LVS.
//!
//! A [`Table`] is the whole declared state of one node's virtual server. It is computed in pure code; the engines
//! compare it with what the kernel holds and repair the difference.

use crate::netns::NamespaceName;
use crate::spec::Protocol;
use crate::{Mac, NetworkId, TaskId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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
    /// Seconds for which a client address keeps its real server after its last new connection; `None` chooses anew for
    /// every connection.
    pub affinity: Option<u32>,
    /// Who may use it, and where.
    pub access: Access,
    /// The real servers, those with weight 0 too: they get no new connections and keep the old.
    pub real_servers: Vec<RealServer>,
    /// Indexes into `real_servers`; the kernel picks `ring[next % len]` or `ring[hash % len]`.
    pub ring: Vec<u16>,
}

/// Who may use a published port, and on which of the node's addresses. The default is everyone, everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Access {
    /// Networks of the clients that are let in; empty lets everyone in. The node's own processes and containers are
    /// clients like any other, with the node's address. Packets of others are dropped and counted before anything is
    /// translated.
    pub allow: BTreeSet<IpNet>,
    /// The node's addresses on which it is published; `None` is all of them. On others the port is not the mesh's.
    pub addresses: Option<BTreeSet<IpAddr>>,
}

/// How a real server is chosen. What a scheduler does is its ring, computed in user space; the engines only know whether
/// the ring is walked or looked up by the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Scheduler {
    /// One after the other.
    #[default]
    RoundRobin,
    /// One after the other, in proportion to the weights.
    WeightedRoundRobin,
    /// Those with the fewest connections in the whole cluster first.
    LeastConnection,
    /// By the client's address; when a server goes, nobody else's clients move.
    SourceHash,
    /// By the client's address, with exact shares; when a server goes, few of the others' clients move (Maglev, NSDI 2016).
    Maglev,
    /// The less loaded of two chosen at random, by the connections of the whole cluster.
    PowerOfTwoChoices,
}

impl Scheduler {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnection,
        Self::SourceHash,
        Self::Maglev,
        Self::PowerOfTwoChoices,
    ];

    /// The short name, that of `ipvsadm` where LVS has the scheduler.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::LeastConnection => "lc",
            Self::SourceHash => "sh",
            Self::Maglev => "maglev",
            Self::PowerOfTwoChoices => "p2c",
        }
    }

    /// Whether the ring depends on the connections of the whole cluster.
    pub fn counts_connections(self) -> bool {
        matches!(self, Self::LeastConnection | Self::PowerOfTwoChoices)
    }

    /// Whether the ring is looked up by a hash of the client's address; otherwise it is walked slot by slot.
    pub fn is_hashed(self) -> bool {
        matches!(self, Self::SourceHash | Self::Maglev)
    }
}

/// A text that no scheduler is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no scheduler has this name")]
pub struct UnknownScheduler;

impl std::str::FromStr for Scheduler {
    type Err = UnknownScheduler;

    /// Reads the short name.
    fn from_str(text: &str) -> Result<Self, UnknownScheduler> {
        Self::ALL.into_iter().find(|scheduler| scheduler.as_str() == text).ok_or(UnknownScheduler)
    }
}

/// One task behind a virtual service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RealServer {
    /// The task.
    pub task: TaskId,
    /// Its address on the service's network (on the ingress network for published ports).
    pub address: IpAddr,
    /// For published ports, its IPv6 address where `address` is an IPv4 one and the ingress network has both.
    pub address6: Option<Ipv6Addr>,
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
    /// The ingress endpoints of all nodes, this one's too: who sends packets to tasks, and where their answers go.
    pub entries: BTreeMap<Mac, BTreeSet<IpAddr>>,
    /// This node's own tasks on the ingress network.
    pub tasks: BTreeMap<TaskId, MeshTask>,
}

/// The mark of packets that go back by way of the node with these ingress addresses, for engines that steer answers by
/// policy routing; also the number of the routing table that leads there. It is the low 32 bits of the first address, so
/// that whoever marks and whoever routes agree without a word; `None` without an address.
pub fn entry_mark(addresses: &BTreeSet<IpAddr>) -> Option<u32> {
    addresses.first().map(|address| match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => u32::try_from(address.to_bits() & u128::from(u32::MAX)).unwrap_or(u32::MAX),
    })
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
    /// Its IPv6 address there, where `address` is an IPv4 one and the network has both.
    pub address6: Option<Ipv6Addr>,
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

/// Live counters of one real server. They only grow, apart from `active` and `inactive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Connections now established.
    pub active: u64,
    /// Connections known but not established (closing, or never answered).
    pub inactive: u64,
    /// Connections ever scheduled to it.
    pub connections: u64,
    /// Connections that were reset because the server went away under them.
    pub resets: u64,
    /// Packets from clients; 0 where an engine sees none (balanced at the socket).
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients, headers of the network layer included.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// Packets that the virtual server dropped, by reason. They only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drops {
    /// The client was not in the port's allow-list.
    pub not_allowed: u64,
    /// A flow could not be remembered: the map was full.
    pub table_full: u64,
    /// Two flows of one client could not be told apart at the task.
    pub clash: u64,
    /// An answer or a fragment that belongs to no known flow.
    pub unknown_flow: u64,
}

/// One connection (or exchange of datagrams) that the virtual server knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Connection {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Who asks.
    pub client: SocketAddr,
    /// What was asked for: the virtual address, or the node's address with the published port.
    pub asked: SocketAddr,
    /// Where it goes.
    pub real: SocketAddr,
    /// The task there.
    pub task: TaskId,
    /// Its state in a word, as `ipvsadm -Lnc` has it: `SYN_RECV`, `ESTABLISHED`, `FIN_WAIT`, `CLOSE`, `UDP`.
    pub state: String,
    /// Seconds after which it is forgotten when nothing more is seen of it.
    pub expires: u64,
}
