//! What came of comparing the kernels of a cluster's nodes with what was declared.

use crate::NodeId;
use crate::deviation::Deviation;
use serde::{Deserialize, Serialize};

/// What one node found when it compared its kernel with its newest assignment, and changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// The digest of the assignment that it compared with; empty before it has one.
    pub assigned: String,
    /// Everything that is not as declared.
    pub deviations: Vec<Deviation>,
}

/// What came of asking every node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Verdict {
    /// By host name.
    pub nodes: Vec<NodeVerdict>,
    /// What must be known to read it: that other nodes were not asked, for example. Empty if nothing.
    pub note: String,
}

/// What came of asking one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeVerdict {
    /// The node.
    pub node: NodeId,
    /// Its host name.
    pub hostname: String,
    /// What it said.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "Outcome")]
pub enum Outcome {
    /// Its kernel holds what was declared.
    Clean,
    /// Its kernel holds something else.
    #[serde(rename_all = "PascalCase")]
    Differs {
        /// Everything that is not as declared. Empty where only digests were compared.
        deviations: Vec<Deviation>,
    },
    /// It said nothing of use.
    #[serde(rename_all = "PascalCase")]
    Silent {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Whether every node holds what was declared.
    pub fn is_clean(&self) -> bool {
        self.nodes.iter().all(|node| node.outcome == Outcome::Clean)
    }

    /// Nodes that did not answer.
    pub fn silent(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().filter_map(|node| match &node.outcome {
            Outcome::Silent { reason } => Some((node.hostname.as_str(), reason.as_str())),
            _ => None,
        })
    }
}
