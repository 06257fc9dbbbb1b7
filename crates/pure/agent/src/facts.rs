//! What the node knows of itself.

use ipnet::IpNet;
use shoal_model::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the node knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFacts {
    /// Its id in the swarm.
    pub node: NodeId,
    /// Its hostname.
    pub hostname: String,
    /// Links of the host namespace on which clients of published ports arrive.
    pub uplinks: BTreeSet<String>,
    /// The addresses of each link of the host namespace, the loopback device's too.
    pub link_addresses: BTreeMap<String, BTreeSet<IpAddr>>,
    /// All of the node's own addresses, the advertised one included.
    pub node_addresses: BTreeSet<IpAddr>,
    /// The address that other nodes reach it at; the source of its tunnels, too.
    pub advertise: IpAddr,
    /// Largest packet in bytes that the path to the other nodes carries.
    pub path_mtu: u32,
    /// Subnet of `docker_gwbridge`.
    pub gateway_subnet: IpNet,
    /// Subnet of `docker0`.
    pub bridge_subnet: IpNet,
    /// Whether the virtual server marks answers by the node that they go back to, so that rules have to route them. The
    /// nft engine does, the ebpf engine needs none of it.
    pub steers_by_mark: bool,
    /// The address that the node's own processes connect to published ports from.
    pub host_source: IpAddr,
    /// The one of the other family, where the node has any.
    pub host_source_beside: Option<IpAddr>,
}

impl LocalFacts {
    /// The address of a family that the node's own processes connect to published ports from.
    pub(crate) fn source(&self, ipv4: bool) -> Option<IpAddr> {
        let both = [Some(self.host_source), self.host_source_beside];
        both.into_iter().flatten().find(|address| address.is_ipv4() == ipv4)
    }
}
