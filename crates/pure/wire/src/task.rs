//! Tasks.

use crate::network::SwarmNetwork;
use crate::omit::is_default;
use serde::{Deserialize, Serialize};
use shoal_model::spec::{Labels, PortConfig, TaskSpec};
use shoal_model::{Network, NetworkId, Timestamp, Version};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A task as Docker shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    /// Identity.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Always empty.
    pub labels: Labels,
    /// What it runs.
    pub spec: TaskSpec,
    /// Its service.
    #[serde(rename = "ServiceID", skip_serializing_if = "String::is_empty")]
    pub service_id: String,
    /// Its slot; 0 for global services.
    #[serde(skip_serializing_if = "is_default")]
    pub slot: u64,
    /// Its node.
    #[serde(rename = "NodeID", skip_serializing_if = "String::is_empty")]
    pub node_id: String,
    /// Where it was last seen.
    pub status: Status,
    /// Where the cluster wants it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub desired_state: String,
    /// Its addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks_attachments: Vec<NetworkAttachment>,
    /// The job iteration, for jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_iteration: Option<Version>,
    /// Cluster volumes, which Shoal has none of.
    pub volumes: Option<Vec<serde_json::Value>>,
}

/// Where a task was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    /// When.
    pub timestamp: Timestamp,
    /// `new`, `pending`, … `running`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// A word on it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What went wrong, or why it waits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub err: String,
    /// Its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_status: Option<ContainerStatus>,
    /// Its host-mode ports.
    pub port_status: PortStatus,
}

/// A task's container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// 64 hexadecimal characters.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Process id on its host.
    #[serde(rename = "PID")]
    pub pid: u32,
    /// Exit status.
    #[serde(rename = "ExitCode")]
    pub exit_code: i32,
}

/// A task's host-mode ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortStatus {
    /// The ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
}

/// A task's addresses on one network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkAttachment {
    /// The network.
    pub network: SwarmNetwork,
    /// With prefix length.
    pub addresses: Vec<String>,
}

impl Task {
    /// A stored task as Docker shows it.
    pub fn new(task: &shoal_model::Task, networks: &BTreeMap<NetworkId, Arc<Network>>) -> Self {
        let attachments = task.attachments.iter().filter_map(|attachment| {
            Some(NetworkAttachment {
                network: networks.get(&attachment.network)?.as_ref().into(),
                addresses: attachment.addresses.iter().map(ToString::to_string).collect(),
            })
        });
        let seen = &task.status;
        Self {
            id: task.id.to_string(),
            version: task.meta.version,
            created_at: task.meta.created_at,
            updated_at: task.meta.updated_at,
            labels: Labels::new(),
            // The runtime is the service's matter: Docker does not repeat it with each task.
            spec: TaskSpec { runtime: String::new(), ..task.spec.clone() },
            service_id: task.service.to_string(),
            slot: task.slot,
            node_id: task.node.as_ref().map(ToString::to_string).unwrap_or_default(),
            status: Status {
                timestamp: seen.timestamp,
                state: seen.state.as_str().to_owned(),
                message: seen.message.clone(),
                err: seen.err.clone(),
                container_status: seen.container.as_ref().map(|container| ContainerStatus {
                    container_id: container.container_id.clone(),
                    pid: container.pid,
                    exit_code: container.exit_code,
                }),
                port_status: PortStatus { ports: task.host_ports.clone() },
            },
            desired_state: task.desired.as_str().to_owned(),
            networks_attachments: attachments.collect(),
            job_iteration: task.job_iteration.map(|index| Version { index }),
            volumes: None,
        }
    }
}
