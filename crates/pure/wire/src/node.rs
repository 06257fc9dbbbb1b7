//! Nodes.

use crate::certificate::TlsInfo;
use crate::system::ManagerHealth;
use serde::{Deserialize, Serialize};
use shoal_model::node::{EngineDescription, NodeResources, NodeSpec};
use shoal_model::spec::Platform;
use shoal_model::{Timestamp, Version};

/// A node as Docker shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Identity.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// When it joined.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What the user asked.
    pub spec: NodeSpec,
    /// What it told of itself.
    pub description: Description,
    /// What was last observed of it.
    pub status: Status,
    /// Managers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager_status: Option<ManagerStatus>,
}

/// What a node told of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Description {
    /// Hostname.
    pub hostname: String,
    /// Processor and operating system.
    pub platform: Platform,
    /// CPUs and memory.
    pub resources: NodeResources,
    /// The engine.
    pub engine: EngineDescription,
    /// The root that it trusts.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
}

/// What was last observed of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    /// `unknown`, `down`, `ready`, `disconnected`.
    pub state: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub addr: String,
}

/// A manager's part in the consensus group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManagerStatus {
    /// Whether it leads.
    #[serde(skip_serializing_if = "crate::omit::is_default")]
    pub leader: bool,
    /// `reachable`, `unreachable` or `unknown`.
    pub reachability: String,
    /// `address:port`
    pub addr: String,
}

impl Node {
    /// A stored node as Docker shows it. `health` is what this manager knows of it, if it is a manager.
    pub fn new(node: &shoal_model::Node, root_ca: &TlsInfo, health: Option<ManagerHealth>) -> Self {
        let manager_status = node.manager_addr.as_ref().map(|addr| ManagerStatus {
            leader: health.is_some_and(|h| h.leader),
            reachability: match health {
                Some(h) if h.reachable => "reachable",
                Some(_) => "unreachable",
                None => "unknown",
            }
            .to_owned(),
            addr: addr.clone(),
        });
        let told = &node.description;
        Self {
            id: node.id.to_string(),
            version: node.meta.version,
            created_at: node.meta.created_at,
            updated_at: node.meta.updated_at,
            spec: node.spec.clone(),
            description: Description {
                hostname: told.hostname.clone(),
                platform: told.platform.clone(),
                resources: told.resources.clone(),
                engine: told.engine.clone(),
                tls_info: root_ca.clone(),
            },
            status: Status {
                state: node.status.state.as_str().to_owned(),
                message: node.status.message.clone(),
                addr: node.status.addr.clone(),
            },
            manager_status,
        }
    }
}
