//! The swarm itself, in Docker's spelling where Docker shows it.

use crate::spec::{Labels, Nanos};
use crate::{ClusterId, Meta};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The one cluster object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Identity.
    pub id: ClusterId,
    /// Version and times.
    pub meta: Meta,
    /// What the user asked.
    pub spec: ClusterSpec,
    /// Pools that subnets of overlay networks are cut from.
    pub default_addr_pool: Vec<IpNet>,
    /// Prefix length of those subnets.
    pub subnet_size: u8,
    /// UDP port of VXLAN.
    pub data_path_port: u16,
    /// PEM of the certificate authority's certificate.
    pub root_ca: String,
    /// PEM of the certificate authority's private key.
    pub root_ca_key: String,
    /// The join tokens, `SWMTKN-1-…`.
    pub join_tokens: JoinTokens,
}

/// The tokens that let nodes join.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinTokens {
    /// Joins as a worker.
    pub worker: String,
    /// Joins as a manager.
    pub manager: String,
}

/// What a user may set of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClusterSpec {
    /// Always `default`.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Task history.
    pub orchestration: Orchestration,
    /// Consensus parameters.
    pub raft: RaftConfig,
    /// Heartbeats.
    pub dispatcher: Dispatcher,
    /// Certificates.
    #[serde(rename = "CAConfig")]
    pub ca_config: CaConfig,
    /// Defaults of tasks.
    pub task_defaults: TaskDefaults,
    /// Locking of managers' disks.
    pub encryption_config: EncryptionConfig,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            labels: Labels::new(),
            orchestration: Orchestration::default(),
            raft: RaftConfig::default(),
            dispatcher: Dispatcher::default(),
            ca_config: CaConfig::default(),
            task_defaults: TaskDefaults::default(),
            encryption_config: EncryptionConfig::default(),
        }
    }
}

/// Task history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Orchestration {
    /// Ended tasks kept per slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_history_retention_limit: Option<i64>,
}

impl Default for Orchestration {
    fn default() -> Self {
        Self { task_history_retention_limit: Some(5) }
    }
}

/// Consensus parameters, kept and shown; ticks are seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftConfig {
    /// Log entries between snapshots.
    pub snapshot_interval: u64,
    /// Old snapshots kept.
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept behind a snapshot.
    pub log_entries_for_slow_followers: u64,
    /// Ticks without a leader before an election.
    pub election_tick: i64,
    /// Ticks between the leader's heartbeats.
    pub heartbeat_tick: i64,
}

impl Default for RaftConfig {
    fn default() -> Self {
        Self {
            snapshot_interval: 10_000,
            keep_old_snapshots: Some(0),
            log_entries_for_slow_followers: 500,
            election_tick: 10,
            heartbeat_tick: 1,
        }
    }
}

/// Heartbeats of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Dispatcher {
    /// Between heartbeats, nanoseconds.
    pub heartbeat_period: Nanos,
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self { heartbeat_period: 5_000_000_000 }
    }
}

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaConfig {
    /// Life of a node's certificate, nanoseconds.
    pub node_cert_expiry: Nanos,
    /// Raised to force a new root.
    #[serde(skip_serializing_if = "crate::spec::is_default")]
    pub force_rotate: u64,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self { node_cert_expiry: 7_776_000_000_000_000, force_rotate: 0 }
    }
}

/// Defaults of tasks, kept as sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskDefaults {
    /// Default log driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<serde_json::Value>,
}

/// Locking of managers' disks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EncryptionConfig {
    /// Whether a restarted manager must be unlocked by hand.
    pub auto_lock_managers: bool,
}
