//! A service as the cluster holds it.

use crate::spec::{EndpointMode, PortConfig, ServiceSpec};
use crate::{Meta, NetworkId, ServiceId, Timestamp, Version};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A service as the cluster holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Identity.
    pub id: ServiceId,
    /// Version and times.
    pub meta: Meta,
    /// What was asked.
    pub spec: ServiceSpec,
    /// What was asked before that; where a rollback leads.
    pub previous_spec: Option<ServiceSpec>,
    /// The version at which `spec` was written; tasks made from it carry the same.
    pub spec_version: Version,
    /// The version of `previous_spec`.
    pub previous_spec_version: Option<Version>,
    /// Credentials for the image's registry as the client sent them (`X-Registry-Auth`), for the nodes that fetch it.
    #[serde(default)]
    pub registry_auth: Option<String>,
    /// Allocated addresses and ports.
    pub endpoint: Endpoint,
    /// How the last update goes.
    pub update_status: Option<UpdateStatus>,
    /// The job's iteration, for jobs.
    pub job_iteration: Option<Version>,
    /// When the job was last started, for jobs; never otherwise.
    #[serde(default)]
    pub job_last_execution: Timestamp,
}

/// What is allocated for a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Endpoint {
    /// The mode that the allocation was made for; absent until then.
    pub mode: Option<EndpointMode>,
    /// Published ports with their numbers filled in.
    pub ports: Vec<PortConfig>,
    /// The virtual addresses: on each network one of each of its families, IPv4 first.
    pub virtual_ips: Vec<VirtualIp>,
}

/// A service's address on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualIp {
    /// The network.
    pub network: NetworkId,
    /// The address with the network's prefix length.
    pub address: IpNet,
}

/// How an update goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Where it stands.
    pub state: UpdateState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; never while it runs.
    pub completed_at: Timestamp,
    /// A word on it.
    pub message: String,
}

/// Where an update stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// Tasks are being replaced.
    Updating,
    /// A failure stopped it.
    Paused,
    /// Done.
    Completed,
    /// A failure turned it back.
    RollbackStarted,
    /// A failure stopped the way back.
    RollbackPaused,
    /// Back at the previous spec.
    RollbackCompleted,
}

impl Service {
    /// Its virtual addresses on `network`, one of each family that the network has.
    pub fn vips_on(&self, network: &NetworkId) -> impl Iterator<Item = IpNet> {
        self.endpoint.virtual_ips.iter().filter(move |v| &v.network == network).map(|v| v.address)
    }

    /// Virtual IP or DNS round robin.
    pub fn endpoint_mode(&self) -> EndpointMode {
        self.spec.endpoint_spec.as_ref().and_then(|e| e.mode).unwrap_or_default()
    }
}
