//! The first entry of a new swarm's log.

use crate::ids::random_u128;
use ipnet::IpNet;
use rand::RngCore;
use shoal_model::cluster::{ClusterSpec, JoinTokens};
use shoal_model::network::NetworkSpec;
use shoal_model::{Cluster, ClusterId, Meta, Network, NetworkId, Node, Timestamp};
use shoal_store::{Change, Object};

/// VXLAN's UDP port (RFC 7348, section 8).
const VXLAN_PORT: u16 = 4789;
/// Length of the subnets that Docker cuts from its pools.
const SUBNET_SIZE: u8 = 24;

/// What `swarm init` brings along.
#[derive(Debug, Clone, PartialEq)]
pub struct Founding {
    /// The swarm's identity.
    pub cluster: ClusterId,
    /// What the user asked.
    pub spec: ClusterSpec,
    /// Pools for overlay networks. A family that has none takes its own: Docker's 10.0.0.0/8, or a unique local prefix
    /// made from the swarm's identity. With an IPv6 pool among them the routing mesh has IPv6 from the beginning.
    pub default_addr_pool: Vec<IpNet>,
    /// Length of the subnets cut from them; 0 means 24.
    pub subnet_size: u8,
    /// UDP port of VXLAN; 0 means 4789.
    pub data_path_port: u16,
    /// PEM of the certificate authority's certificate.
    pub root_ca: String,
    /// PEM of the certificate authority's private key.
    pub root_ca_key: String,
    /// The join tokens.
    pub join_tokens: JoinTokens,
    /// This node, as a ready manager.
    pub node: Node,
}

/// The cluster object, the network of the routing mesh and the first node.
pub fn bootstrap(founding: Founding, now: Timestamp, rng: &mut dyn RngCore) -> Vec<Change> {
    let default_pool = || "10.0.0.0/8".parse().ok().into_iter().collect();
    let asked = founding.default_addr_pool;
    let dual_stack = asked.iter().any(|pool| pool.addr().is_ipv6());
    let cluster = Cluster {
        id: founding.cluster,
        meta: Meta::created(0, now),
        spec: founding.spec,
        default_addr_pool: if asked.is_empty() { default_pool() } else { asked },
        subnet_size: if founding.subnet_size == 0 { SUBNET_SIZE } else { founding.subnet_size },
        data_path_port: if founding.data_path_port == 0 { VXLAN_PORT } else { founding.data_path_port },
        root_ca: founding.root_ca,
        root_ca_key: founding.root_ca_key,
        join_tokens: founding.join_tokens,
    };
    vec![
        Change::Create(Object::from(cluster)),
        Change::Create(Object::from(ingress_network(dual_stack, now, rng))),
        Change::Create(Object::from(founding.node)),
    ]
}

/// The network of the routing mesh, as Docker makes it. Its subnet is chosen by the control loop, which knows the hosts'
/// routes. It has IPv6 beside IPv4 where the swarm's pools have.
pub fn ingress_network(dual_stack: bool, now: Timestamp, rng: &mut dyn RngCore) -> Network {
    Network {
        id: NetworkId::from_random(random_u128(rng)),
        meta: Meta::created(0, now),
        spec: NetworkSpec {
            name: "ingress".to_owned(),
            ingress: true,
            enable_ipv6: dual_stack,
            ..NetworkSpec::default()
        },
        subnets: Vec::new(),
        vni: 0,
    }
}
