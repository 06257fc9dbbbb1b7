//! Network namespaces as data. The same types say what a namespace should hold (declared) and what it was seen to hold
//! (observed), so that one comparison finds every difference and [`NetOp`]s repair it.

use crate::Mac;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Name of the namespace that holds the ingress balancer.
pub const INGRESS_SANDBOX: &str = "ingress_sbox";

/// A network namespace of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum NamespaceName {
    /// The daemon's own namespace.
    Host,
    /// A file under `<exec-root>/netns/`.
    Named(String),
}

impl NamespaceName {
    /// The ingress balancer's namespace.
    pub fn ingress_sandbox() -> Self {
        Self::Named(INGRESS_SANDBOX.to_owned())
    }
}

impl From<String> for NamespaceName {
    fn from(text: String) -> Self {
        if text.is_empty() { Self::Host } else { Self::Named(text) }
    }
}

impl From<NamespaceName> for String {
    fn from(name: NamespaceName) -> String {
        match name {
            NamespaceName::Host => String::new(),
            NamespaceName::Named(text) => text,
        }
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Named(text) => text,
        })
    }
}

/// Every namespace of a node that Shoal has a say in.
pub type Namespaces = BTreeMap<NamespaceName, Namespace>;

/// What one namespace holds. Of the host's namespace only what Shoal owns is declared and observed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Namespace {
    /// Links by name. `lo` is included except in the host's namespace.
    pub links: BTreeMap<String, Link>,
    /// Routes beyond those that the kernel makes for addresses.
    pub routes: BTreeSet<Route>,
    /// Policy-routing rules beyond the kernel's three.
    pub rules: BTreeSet<Rule>,
    /// Permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
    /// Permanent forwarding entries of VXLAN devices.
    pub forwarding: BTreeSet<Forwarding>,
    /// Kernel parameters below `/proc/sys`, such as `net.ipv4.ip_forward`; only the declared ones are observed.
    pub sysctls: BTreeMap<String, String>,
    /// The packet filter's rules in Shoal's own table, in order.
    pub firewall: Vec<FirewallRule>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What kind of device.
    pub kind: LinkKind,
    /// Ethernet address; `None` where it does not matter.
    pub mac: Option<Mac>,
    /// Largest packet in bytes; 0 where it does not matter (`lo`).
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Addresses with their prefix lengths.
    pub addresses: BTreeSet<IpNet>,
    /// Whether it is up.
    pub up: bool,
}

/// Kinds of device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// A bridge.
    Bridge,
    /// A VXLAN device (`nolearning proxy`) whose socket lives in the host's namespace.
    Vxlan {
        /// Network identifier.
        vni: u32,
        /// UDP port.
        port: u16,
        /// Source address of the tunnel.
        local: IpAddr,
    },
    /// One end of a pair.
    Veth {
        /// Where the other end is.
        peer_namespace: NamespaceName,
        /// The other end's name.
        peer: String,
    },
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destination; a prefix length of 0 is the default route.
    pub destination: IpNet,
    /// Next hop; absent for a route straight onto the link.
    pub via: Option<IpAddr>,
    /// Outgoing link.
    pub link: String,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Routing table; 254 is the main one.
    pub table: u32,
}

/// Number of the main routing table.
pub const MAIN_TABLE: u32 = 254;

/// A policy-routing rule: packets from these sources, with this mark, use that table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Source addresses.
    pub from: IpNet,
    /// The packet's mark; `None` is for packets with any.
    pub mark: Option<u32>,
    /// Routing table.
    pub table: u32,
    /// Lower comes first.
    pub priority: u32,
}

/// A permanent neighbour (ARP or ND entry).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    /// The link.
    pub link: String,
    /// Network-layer address.
    pub address: IpAddr,
    /// Ethernet address.
    pub mac: Mac,
}

/// A permanent forwarding entry of a VXLAN device: frames to this address go to that node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forwarding {
    /// The VXLAN device.
    pub link: String,
    /// Ethernet address.
    pub mac: Mac,
    /// The other node's tunnel address.
    pub tunnel: IpAddr,
}

/// A rule of Shoal's own packet-filter table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FirewallRule {
    /// Packets from `source` that leave by another link than `bridge` take the node's address.
    Masquerade {
        /// Subnet of the bridge.
        source: IpNet,
        /// The bridge.
        bridge: String,
    },
    /// Packets between two ports of `bridge` that would be routed are dropped (`enable_icc=false`).
    Isolate {
        /// The bridge.
        bridge: String,
    },
    /// Packets to a published host-mode port are translated to a container.
    HostPort {
        /// Transport protocol.
        protocol: crate::spec::Protocol,
        /// Port on the node.
        published: u16,
        /// Address of the container on the bridge.
        address: IpAddr,
        /// Port of the container.
        target: u16,
        /// Only packets from this network; `None` is any.
        client: Option<IpNet>,
        /// Only packets to this address of the node; `None` is any of its own.
        at: Option<IpAddr>,
    },
    /// Packets to a host-mode port that no rule before this one has translated are dropped: their clients are not let in.
    ClosedPort {
        /// Transport protocol.
        protocol: crate::spec::Protocol,
        /// Port on the node.
        published: u16,
        /// Only packets to this address of the node; `None` is any of its own.
        at: Option<IpAddr>,
    },
}

/// One repair of one difference. Each is idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetOp {
    /// Make a namespace with `lo` up.
    CreateNamespace(NamespaceName),
    /// Drop a namespace with all that is in it.
    RemoveNamespace(NamespaceName),
    /// Make a link (for a pair: both ends, the other end as declared by `peer_link`) with all its properties.
    CreateLink {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        name: String,
        /// Its properties.
        link: Link,
        /// For a pair, the other end's properties.
        peer_link: Option<Box<Link>>,
    },
    /// Remove a link (and its other end).
    RemoveLink {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        name: String,
    },
    /// Give an existing link its address, size, master and state.
    SetLink {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        name: String,
        /// Its properties; addresses are not touched.
        link: Link,
    },
    /// Add an address to a link.
    AddAddress {
        /// Where.
        namespace: NamespaceName,
        /// The link.
        link: String,
        /// The address.
        address: IpNet,
    },
    /// Take an address from a link.
    RemoveAddress {
        /// Where.
        namespace: NamespaceName,
        /// The link.
        link: String,
        /// The address.
        address: IpNet,
    },
    /// Add or replace a route.
    AddRoute(NamespaceName, Route),
    /// Remove a route.
    RemoveRoute(NamespaceName, Route),
    /// Add a policy-routing rule.
    AddRule(NamespaceName, Rule),
    /// Remove a policy-routing rule.
    RemoveRule(NamespaceName, Rule),
    /// Add or replace a permanent neighbour.
    AddNeighbour(NamespaceName, Neighbour),
    /// Remove a neighbour.
    RemoveNeighbour(NamespaceName, Neighbour),
    /// Add or replace a forwarding entry.
    AddForwarding(NamespaceName, Forwarding),
    /// Remove a forwarding entry.
    RemoveForwarding(NamespaceName, Forwarding),
    /// Set a kernel parameter.
    SetSysctl {
        /// Where.
        namespace: NamespaceName,
        /// Dotted name.
        name: String,
        /// Value.
        value: String,
    },
    /// Replace all rules of Shoal's own packet-filter table.
    SetFirewall(NamespaceName, Vec<FirewallRule>),
}
