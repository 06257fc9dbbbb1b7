//! The swarm's bodies: `/swarm`, `/swarm/init`, `/swarm/join`, and the part of `/info` about it.

use crate::certificate::TlsInfo;
use crate::requests::{SwarmInit, SwarmJoin};
use crate::system::{MemberFacts, Membership};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shoal_model::cluster::{ClusterSpec, JoinTokens};
use shoal_model::node::Availability;
use shoal_model::{Cluster, Timestamp, Version};

/// The swarm without its secrets, as `/info` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClusterInfo {
    /// Identity.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What the user asked.
    pub spec: ClusterSpec,
    /// The root certificate.
    #[serde(rename = "TLSInfo", default)]
    pub tls_info: TlsInfo,
    /// Whether the root is being replaced.
    #[serde(default)]
    pub root_rotation_in_progress: bool,
    /// Pools that subnets are cut from.
    #[serde(default)]
    pub default_addr_pool: Vec<IpNet>,
    /// Prefix length of those subnets.
    #[serde(default)]
    pub subnet_size: u8,
    /// UDP port of VXLAN.
    #[serde(default)]
    pub data_path_port: u16,
}

/// Answer of `GET /swarm`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swarm {
    /// All but the tokens.
    #[serde(flatten)]
    pub info: ClusterInfo,
    /// What lets nodes join.
    #[serde(rename = "JoinTokens")]
    pub join_tokens: JoinTokens,
}

impl From<&Cluster> for ClusterInfo {
    fn from(cluster: &Cluster) -> Self {
        Self {
            id: cluster.id.to_string(),
            version: cluster.meta.version,
            created_at: cluster.meta.created_at,
            updated_at: cluster.meta.updated_at,
            spec: cluster.spec.clone(),
            tls_info: TlsInfo::of_root(&cluster.root_ca),
            root_rotation_in_progress: false,
            default_addr_pool: cluster.default_addr_pool.clone(),
            subnet_size: cluster.subnet_size,
            data_path_port: cluster.data_path_port,
        }
    }
}

impl From<&Cluster> for Swarm {
    fn from(cluster: &Cluster) -> Self {
        Self { info: cluster.into(), join_tokens: cluster.join_tokens.clone() }
    }
}

/// Body of `POST /swarm/init`; zero values mean the defaults.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InitRequest {
    /// Where to listen.
    pub listen_addr: String,
    /// What to tell others.
    pub advertise_addr: String,
    /// Where VXLAN goes.
    pub data_path_addr: String,
    /// UDP port of VXLAN.
    pub data_path_port: u32,
    /// Start anew from this node's data.
    pub force_new_cluster: bool,
    /// Parameters.
    pub spec: SpecRequest,
    /// Whether managers are locked.
    pub auto_lock_managers: bool,
    /// This node's availability.
    pub availability: Availability,
    /// Pools that subnets are cut from.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of those subnets.
    pub subnet_size: u32,
}

/// Parameters of a swarm as a request brings them: [`ClusterSpec`] with zero values for what is not said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SpecRequest {
    /// Labels.
    pub labels: shoal_model::spec::Labels,
    /// Task history.
    pub orchestration: OrchestrationRequest,
    /// Consensus parameters.
    pub raft: RaftRequest,
    /// Heartbeats.
    pub dispatcher: DispatcherRequest,
    /// Certificates.
    #[serde(rename = "CAConfig")]
    pub ca_config: CaRequest,
    /// Defaults of tasks.
    pub task_defaults: shoal_model::cluster::TaskDefaults,
    /// Locking.
    pub encryption_config: shoal_model::cluster::EncryptionConfig,
}

/// Task history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OrchestrationRequest {
    /// Ended tasks kept per slot.
    pub task_history_retention_limit: Option<i64>,
}

/// Consensus parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftRequest {
    /// Log entries between snapshots.
    pub snapshot_interval: u64,
    /// Old snapshots kept.
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept behind a snapshot.
    pub log_entries_for_slow_followers: u64,
    /// Ticks before an election.
    pub election_tick: i64,
    /// Ticks between heartbeats.
    pub heartbeat_tick: i64,
}

/// Heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DispatcherRequest {
    /// Between heartbeats, nanoseconds.
    pub heartbeat_period: i64,
}

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaRequest {
    /// Life of a node's certificate, nanoseconds.
    pub node_cert_expiry: i64,
    /// Raised to force a new root.
    pub force_rotate: u64,
}

fn or_default<T: Default + PartialEq>(asked: T, default: T) -> T {
    if asked == T::default() { default } else { asked }
}

impl SpecRequest {
    /// The parameters with `base`'s values for what is not said.
    pub fn over(self, base: &ClusterSpec) -> ClusterSpec {
        let mut spec = base.clone();
        spec.labels = self.labels;
        if self.orchestration.task_history_retention_limit.is_some() {
            spec.orchestration.task_history_retention_limit = self.orchestration.task_history_retention_limit;
        }
        let (asked, raft) = (self.raft, &mut spec.raft);
        raft.snapshot_interval = or_default(asked.snapshot_interval, raft.snapshot_interval);
        raft.keep_old_snapshots = asked.keep_old_snapshots.or(raft.keep_old_snapshots);
        raft.log_entries_for_slow_followers =
            or_default(asked.log_entries_for_slow_followers, raft.log_entries_for_slow_followers);
        raft.election_tick = or_default(asked.election_tick, raft.election_tick);
        raft.heartbeat_tick = or_default(asked.heartbeat_tick, raft.heartbeat_tick);
        let period = &mut spec.dispatcher.heartbeat_period;
        *period = or_default(self.dispatcher.heartbeat_period, *period);
        let expiry = &mut spec.ca_config.node_cert_expiry;
        *expiry = or_default(self.ca_config.node_cert_expiry, *expiry);
        spec.ca_config.force_rotate = self.ca_config.force_rotate;
        spec.task_defaults = self.task_defaults;
        spec.encryption_config = self.encryption_config;
        spec
    }
}

impl InitRequest {
    /// The request with its numbers checked and its defaults filled in.
    pub fn resolve(self) -> Result<SwarmInit, crate::ApiError> {
        let bad = crate::ApiError::bad_request;
        let pools = self
            .default_addr_pool
            .iter()
            .map(|pool| pool.parse().map_err(|_| bad(format!("invalid CIDR address: {pool}"))))
            .collect::<Result<_, _>>()?;
        let mut spec = self.spec.over(&ClusterSpec::default());
        spec.encryption_config.auto_lock_managers |= self.auto_lock_managers;
        Ok(SwarmInit {
            listen_addr: or_default(self.listen_addr, "0.0.0.0:2377".to_owned()),
            advertise_addr: self.advertise_addr,
            data_path_addr: self.data_path_addr,
            data_path_port: u16::try_from(self.data_path_port)
                .map_err(|_| bad(format!("invalid data path port {}", self.data_path_port)))?,
            force_new_cluster: self.force_new_cluster,
            availability: self.availability,
            default_addr_pool: pools,
            subnet_size: u8::try_from(self.subnet_size)
                .map_err(|_| bad(format!("subnet size is out of range: {}", self.subnet_size)))?,
            spec,
        })
    }
}

/// Body of `POST /swarm/join`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinRequest {
    /// Where to listen.
    pub listen_addr: String,
    /// What to tell others.
    pub advertise_addr: String,
    /// Where VXLAN goes.
    pub data_path_addr: String,
    /// Managers to ask.
    pub remote_addrs: Vec<String>,
    /// The token.
    pub join_token: String,
    /// This node's availability.
    pub availability: Availability,
}

impl JoinRequest {
    /// The request with its defaults filled in.
    pub fn resolve(self) -> Result<SwarmJoin, crate::ApiError> {
        if self.remote_addrs.is_empty() {
            return Err(crate::ApiError::bad_request("at least 1 RemoteAddr is required to join"));
        }
        Ok(SwarmJoin {
            listen_addr: or_default(self.listen_addr, "0.0.0.0:2377".to_owned()),
            advertise_addr: self.advertise_addr,
            data_path_addr: self.data_path_addr,
            remote_addrs: self.remote_addrs,
            join_token: self.join_token,
            availability: self.availability,
        })
    }
}

/// Body of `POST /swarm/unlock` and answer of `GET /swarm/unlockkey`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UnlockKey {
    /// `SWMKEY-1-…`, empty while locking is off.
    pub unlock_key: String,
}

/// The part of `/info` about the swarm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    /// This node's id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Its address.
    pub node_addr: String,
    /// `inactive`, `pending`, `active`, `error`, `locked`.
    pub local_node_state: String,
    /// Whether it is a manager.
    pub control_available: bool,
    /// What went wrong.
    pub error: String,
    /// The managers that it knows.
    pub remote_managers: Option<Vec<PeerNode>>,
    /// Nodes, on managers.
    #[serde(skip_serializing_if = "crate::omit::is_default")]
    pub nodes: u64,
    /// Managers among them, on managers.
    #[serde(skip_serializing_if = "crate::omit::is_default")]
    pub managers: u64,
    /// The swarm, on managers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
}

/// A manager as other nodes know it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerNode {
    /// Its id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// `address:port`
    #[serde(rename = "Addr")]
    pub addr: String,
}

impl SwarmInfo {
    /// What a node tells of its part in a swarm, without what only managers know.
    pub fn of(membership: &Membership) -> Self {
        let member = |facts: &MemberFacts, manager: bool| Self {
            node_id: facts.node.to_string(),
            node_addr: facts.addr.clone(),
            local_node_state: "active".to_owned(),
            control_available: manager,
            remote_managers: Some(
                facts
                    .managers
                    .iter()
                    .map(|m| PeerNode { node_id: m.node.to_string(), addr: m.addr.clone() })
                    .collect(),
            ),
            ..Self::default()
        };
        let alone = |state: &str| Self { local_node_state: state.to_owned(), ..Self::default() };
        match membership {
            Membership::Inactive => alone("inactive"),
            Membership::Pending => alone("pending"),
            Membership::Locked => alone("locked"),
            Membership::Error(error) => Self { error: error.clone(), ..alone("error") },
            Membership::Worker(facts) => member(facts, false),
            Membership::Manager(facts) => member(facts, true),
        }
    }
}

/// The `Swarm` header of pings.
pub fn ping_header(membership: &Membership) -> &'static str {
    match membership {
        Membership::Inactive => "inactive",
        Membership::Pending => "pending",
        Membership::Locked => "locked",
        Membership::Error(_) => "error",
        Membership::Worker(_) => "active/worker",
        Membership::Manager(_) => "active/manager",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::from_json;

    #[test]
    fn what_the_docker_command_sends_for_init_means_all_defaults() {
        let body = r#"{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"","DataPathAddr":"","DataPathPort":0,
            "ForceNewCluster":false,"Spec":{"Labels":null,"Orchestration":{},"Raft":{"ElectionTick":0,
            "HeartbeatTick":0},"Dispatcher":{},"CAConfig":{},"TaskDefaults":{},"EncryptionConfig":
            {"AutoLockManagers":false}},"AutoLockManagers":false,"Availability":"active","DefaultAddrPool":null,
            "SubnetSize":0}"#;
        let init = from_json::<InitRequest>(body.as_bytes()).unwrap().resolve().unwrap();
        assert_eq!(init.spec, ClusterSpec::default());
        assert_eq!((init.subnet_size, init.data_path_port), (0, 0));
    }

    #[test]
    fn an_update_keeps_what_it_does_not_say() {
        let base = ClusterSpec::default();
        let asked: SpecRequest =
            from_json(br#"{"Orchestration":{"TaskHistoryRetentionLimit":0},"Raft":{"SnapshotInterval":7}}"#)
                .unwrap();
        let spec = asked.over(&base);
        assert_eq!(spec.orchestration.task_history_retention_limit, Some(0));
        assert_eq!(spec.raft.snapshot_interval, 7);
        assert_eq!(spec.raft.election_tick, base.raft.election_tick);
    }

    #[test]
    fn bad_pools_are_refused() {
        let asked = InitRequest { default_addr_pool: vec!["10.0.0/8".into()], ..InitRequest::default() };
        assert!(asked.resolve().unwrap_err().message.contains("invalid CIDR"));
    }

    #[test]
    fn joining_needs_a_manager_to_ask() {
        assert!(JoinRequest::default().resolve().is_err());
    }
}
