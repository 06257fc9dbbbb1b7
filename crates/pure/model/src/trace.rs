//! The way of a connection, hop by hop: what is asked, what nodes tell for it, and what came of it.

use crate::deviation::Deviation;
use crate::lvs::{Connection, Mesh, VirtualService, VirtualServiceKey};
use crate::netns::{NamespaceName, Namespaces};
use crate::spec::Protocol;
use crate::{Mac, NetworkId, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A connection that is to be followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// Who connects.
    pub source: Source,
    /// The node that sees it first.
    pub entry: NodeId,
    /// Where to.
    pub target: Target,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port that is asked for; 0 where none was named.
    pub port: u16,
}

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A task's container.
    Task(TaskId),
    /// A process of the node itself.
    Node,
    /// A machine outside the swarm.
    Client(IpAddr),
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A service's virtual address.
    Virtual {
        /// The network.
        network: NetworkId,
        /// The address.
        vip: IpAddr,
    },
    /// A published port of the entry node.
    Published,
    /// A task's own address.
    Task {
        /// The network.
        network: NetworkId,
        /// The task.
        task: TaskId,
    },
}

/// What the cluster knows of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPlace {
    /// `<service>.<slot>`.
    pub name: String,
    /// The node that it is on.
    pub node: NodeId,
    /// Its address on each of its networks.
    pub addresses: BTreeMap<NetworkId, IpAddr>,
    /// Its state in a word.
    pub state: String,
}

/// What one node tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Its host name.
    pub hostname: String,
    /// Its namespaces as they were seen.
    pub namespaces: Namespaces,
    /// The virtual services that are declared there.
    pub services: Vec<(VirtualServiceKey, VirtualService)>,
    /// Where the routing mesh hooks in, if it does.
    pub mesh: Option<Mesh>,
    /// What of the virtual server is not as declared.
    pub deviations: Vec<Deviation>,
    /// The connections that it balances now.
    pub connections: Vec<Connection>,
    /// Its tasks.
    pub tasks: BTreeMap<TaskId, HeldTask>,
}

/// One task of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTask {
    /// Its sandbox.
    pub sandbox: NamespaceName,
    /// Whether its container runs.
    pub running: bool,
    /// The sockets on which somebody waits there.
    pub listeners: BTreeSet<Listener>,
}

/// A socket on which somebody waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The address that it is bound to; unspecified is every address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// What came of following a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Trace {
    /// What all its ways share.
    pub hops: Vec<Hop>,
    /// How it goes on to each real server that it may be given to.
    pub branches: Vec<Branch>,
}

/// How a connection goes on if it is given to one real server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Branch {
    /// The task's name.
    pub task: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The hops.
    pub hops: Vec<Hop>,
}

/// One step on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hop {
    /// The host where it happens.
    pub host: String,
    /// What happens.
    pub what: String,
    /// Whether the connection ends here, for the reason in `what`.
    pub dropped: bool,
}

impl Trace {
    /// Whether it arrives whichever way it goes.
    pub fn arrives(&self) -> bool {
        let all = self.hops.iter().chain(self.branches.iter().flat_map(|branch| &branch.hops));
        !self.branches.is_empty() && all.into_iter().all(|hop| !hop.dropped)
    }
}
