//! What requests about the swarm ask for, defaults filled in.

use ipnet::IpNet;
use shoal_model::ServiceId;
use shoal_model::cluster::ClusterSpec;
use shoal_model::node::Availability;
use shoal_model::spec::ServiceSpec;

/// `docker swarm init`
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmInit {
    /// `address[:port]` or `interface[:port]`; the default is `0.0.0.0:2377`.
    pub listen_addr: String,
    /// `address[:port]` or `interface[:port]` told to others; empty means: find out.
    pub advertise_addr: String,
    /// Address or interface for VXLAN; empty means the advertised one.
    pub data_path_addr: String,
    /// UDP port of VXLAN; 0 means 4789.
    pub data_path_port: u16,
    /// Start a new swarm of one manager from this node's data.
    pub force_new_cluster: bool,
    /// This node's availability.
    pub availability: Availability,
    /// Pools that subnets of networks are cut from; empty means 10.0.0.0/8.
    pub default_addr_pool: Vec<IpNet>,
    /// Prefix length of those subnets; 0 means 24.
    pub subnet_size: u8,
    /// Parameters, with zero values replaced by the defaults.
    pub spec: ClusterSpec,
}

/// `docker swarm join`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmJoin {
    /// As for init.
    pub listen_addr: String,
    /// As for init.
    pub advertise_addr: String,
    /// As for init.
    pub data_path_addr: String,
    /// Managers to ask, `address[:port]`.
    pub remote_addrs: Vec<String>,
    /// `SWMTKN-1-…`
    pub join_token: String,
    /// This node's availability.
    pub availability: Availability,
}

/// What `swarm update` makes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotate {
    /// The workers' join token.
    pub worker_token: bool,
    /// The managers' join token.
    pub manager_token: bool,
    /// The managers' unlock key.
    pub manager_unlock_key: bool,
}

/// Where an updated service's registry credentials come from when the request brings none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthFrom {
    /// The present spec's.
    #[default]
    Spec,
    /// The previous spec's.
    PreviousSpec,
}

/// `docker service update`
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceUpdate {
    /// The version that the change is based on.
    pub version: u64,
    /// The new spec; without meaning for a rollback.
    pub spec: ServiceSpec,
    /// Go back to the previous spec.
    pub rollback: bool,
    /// `X-Registry-Auth` as it came.
    pub auth: Option<String>,
    /// Which kept credentials to use otherwise.
    pub auth_from: AuthFrom,
}

/// What creating a service told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCreated {
    /// The new service.
    pub id: ServiceId,
    /// What the user should know.
    pub warnings: Vec<String>,
}
