//! Networks: the swarm's overlays and the host's own.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shoal_model::spec::Labels;
use shoal_model::{Mac, Network, Timestamp, Version};
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
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
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
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The address of its node.
    pub host: IpAddr,
}

/// An endpoint's id as Docker shows one, 64 hexadecimal characters: the digest of the network's id and of what holds the
/// endpoint (a task, or a node), so that every node tells the same.
pub fn endpoint_id(network: &str, holder: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    digest.update(network);
    digest.update("/");
    digest.update(holder);
    hex::encode(digest.finalize())
}

/// An overlay network as tasks show it (`NetworksAttachments[].Network`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SwarmNetwork {
    /// Identity.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    #[serde(rename = "Version")]
    pub version: Version,
    /// When it was made.
    #[serde(rename = "CreatedAt")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(rename = "UpdatedAt")]
    pub updated_at: Timestamp,
    /// What was asked.
    #[serde(rename = "Spec")]
    pub spec: serde_json::Value,
    /// The driver and its options.
    #[serde(rename = "DriverState")]
    pub driver_state: serde_json::Value,
    /// Addressing.
    #[serde(rename = "IPAMOptions")]
    pub ipam_options: serde_json::Value,
}

impl From<&Network> for SwarmNetwork {
    fn from(network: &Network) -> Self {
        let asked = &network.spec;
        // The swarm makes the ingress network itself and names no drivers for it.
        let (driver, ipam) = if asked.ingress {
            (json!({}), json!({}))
        } else {
            (json!({"Name": "overlay"}), json!({"Name": "default"}))
        };
        let mut spec = json!({"Name": asked.name, "Labels": asked.labels, "DriverConfiguration": driver});
        if let Some(map) = spec.as_object_mut() {
            let flags = [
                ("IPv6Enabled", asked.enable_ipv6),
                ("Internal", asked.internal),
                ("Attachable", asked.attachable),
                ("Ingress", asked.ingress),
            ];
            map.extend(
                flags.into_iter().filter(|(_, on)| *on).map(|(name, on)| (name.to_owned(), json!(on))),
            );
            map.insert("IPAMOptions".to_owned(), json!({"Driver": ipam}));
            map.insert("Scope".to_owned(), json!("swarm"));
        }
        let configs: Vec<_> = network
            .subnets
            .iter()
            .map(|s| json!({"Subnet": s.subnet.to_string(), "Gateway": s.gateway.to_string()}))
            .collect();
        Self {
            id: network.id.to_string(),
            version: network.meta.version,
            created_at: network.meta.created_at,
            updated_at: network.meta.updated_at,
            spec,
            driver_state: json!({"Name": "overlay", "Options": crate::network_body::driver_options(network)}),
            ipam_options: json!({"Driver": {"Name": "default"}, "Configs": configs}),
        }
    }
}
