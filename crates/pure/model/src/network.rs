//! Overlay networks of the swarm.

use crate::spec::Labels;
use crate::{Meta, NetworkId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The first VXLAN network identifier that is handed out, as swarmkit does.
pub const FIRST_VNI: u32 = 4096;

/// A network as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Name, unique among the swarm's networks.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// No way out of the network.
    pub internal: bool,
    /// Containers outside services may attach.
    pub attachable: bool,
    /// The routing mesh runs over it.
    pub ingress: bool,
    /// Whether tasks get IPv4 addresses.
    pub enable_ipv4: bool,
    /// Whether tasks get IPv6 addresses.
    pub enable_ipv6: bool,
    /// Subnets wanted; a family without any gets one from the pools.
    pub subnets: Vec<SubnetSpec>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            labels: Labels::new(),
            internal: false,
            attachable: false,
            ingress: false,
            enable_ipv4: true,
            enable_ipv6: false,
            subnets: Vec::new(),
            options: BTreeMap::new(),
        }
    }
}

/// A subnet wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetSpec {
    /// The subnet.
    pub subnet: IpNet,
    /// The gateway; absent means the first address.
    pub gateway: Option<IpAddr>,
    /// Addresses are handed out from this part only.
    pub range: Option<IpNet>,
}

/// A network of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Identity.
    pub id: NetworkId,
    /// Version and times.
    pub meta: Meta,
    /// What was asked.
    pub spec: NetworkSpec,
    /// Allocated subnets; empty until the allocator has seen the network.
    pub subnets: Vec<Subnet>,
    /// VXLAN network identifier; 0 until allocated.
    pub vni: u32,
}

/// An allocated subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet.
    pub subnet: IpNet,
    /// The gateway, held by the bridge in each node's overlay namespace.
    pub gateway: IpAddr,
    /// Addresses are handed out from this part only.
    pub range: Option<IpNet>,
    /// The last address handed out: the next search starts behind it, so a freed address rests longest.
    pub last: Option<IpAddr>,
}

impl Network {
    /// True once subnet and VNI are allocated.
    pub fn is_allocated(&self) -> bool {
        self.vni != 0 && !self.subnets.is_empty()
    }

    /// The name of its namespace on each node, as Docker names it: `1-` and ten characters of the id.
    pub fn namespace_name(&self) -> String {
        namespace_name(&self.id)
    }
}

/// The name of a network's namespace: `1-` and ten characters of the id.
pub fn namespace_name(id: &NetworkId) -> String {
    format!("1-{}", &id.as_str()[..10])
}
