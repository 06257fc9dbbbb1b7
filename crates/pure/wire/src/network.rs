//! Networks: the swarm's overlays and the host's own.

use ipnet::IpNet;
use shoal_model::spec::Labels;
use shoal_model::{Mac, Network, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A network of this host only: `bridge`, `host`, `none`, `docker_gwbridge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNetwork {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal characters.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Subnets with their gateways.
    pub subnets: Vec<(IpNet, Option<IpAddr>)>,
    /// No way out.
    pub internal: bool,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: Labels,
    /// What is attached, by container id.
    pub containers: BTreeMap<String, NetworkEndpoint>,
}

/// Something attached to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkEndpoint {
    /// The container's name.
    pub name: String,
    /// 64 hexadecimal characters.
    pub endpoint_id: String,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// IPv4 address with prefix length.
    pub ipv4: Option<IpNet>,
    /// IPv6 address with prefix length.
    pub ipv6: Option<IpNet>,
}

/// What this node holds of an overlay network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayView {
    /// The network as the managers told it.
    pub network: Network,
    /// When this node set it up.
    pub created: Timestamp,
    /// Local endpoints by container id; the node's own under `ingress-sbox` or `lb-<network>`.
    pub containers: BTreeMap<String, NetworkEndpoint>,
    /// Nodes that take part: a name of 12 characters, and the tunnel address.
    pub peers: Vec<(String, IpAddr)>,
    /// Services on it by name, for `--verbose`.
    pub services: BTreeMap<String, ServiceView>,
}

/// A service as seen on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Its virtual address.
    pub vip: Option<IpAddr>,
    /// Its published ports as `Target: 8000, Publish: 8000`.
    pub ports: Vec<String>,
    /// The balancer's number for it on this node.
    pub local_lb_index: u32,
    /// Its tasks.
    pub tasks: Vec<ServiceTaskView>,
}

/// A task as seen on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTaskView {
    /// `<service>.<slot>.<task id>`
    pub name: String,
    /// 64 hexadecimal characters.
    pub endpoint_id: String,
    /// Its address.
    pub address: IpAddr,
    /// The address of its node.
    pub host: IpAddr,
}
