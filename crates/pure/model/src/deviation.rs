//! Where a node's kernel holds something else than what was declared, for people and for counting.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing in a node's kernel that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Deviation {
    /// What kind of thing it is.
    pub kind: DeviationKind,
    /// The namespace that it is in; empty where it is in none, or already in `what`.
    pub namespace: String,
    /// The thing, such as `forwarding entry 02:42:0a:00:00:03 to 192.168.50.12 on vxlan0`.
    pub what: String,
    /// In which way it deviates.
    pub found: Found,
    /// What was found instead, or why it could not be repaired; empty where there is nothing to add.
    pub detail: String,
}

/// In which way something deviates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Found {
    /// Declared, but not there.
    Missing,
    /// There with other properties.
    Different,
    /// There, but not declared.
    Unexpected,
}

/// What kind of thing deviates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviationKind {
    /// A network namespace.
    Namespace,
    /// A link.
    Link,
    /// An address of a link.
    Address,
    /// A route.
    Route,
    /// A policy-routing rule.
    Rule,
    /// A permanent neighbour.
    Neighbour,
    /// A forwarding entry of a VXLAN device.
    Forwarding,
    /// A kernel parameter.
    Sysctl,
    /// The rules of Shoal's own packet-filter table.
    Firewall,
    /// A virtual service or a part of one.
    VirtualService,
    /// A real server of a virtual service.
    RealServer,
    /// A namespace whose connections are balanced.
    Sandbox,
    /// Where the routing mesh hooks into the node.
    Mesh,
    /// A program that is attached to the kernel.
    Program,
    /// Something else of the virtual server.
    VirtualServer,
    /// The assignment itself: the node has not got the newest yet.
    Assignment,
}

impl DeviationKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::Namespace,
        Self::Link,
        Self::Address,
        Self::Route,
        Self::Rule,
        Self::Neighbour,
        Self::Forwarding,
        Self::Sysctl,
        Self::Firewall,
        Self::VirtualService,
        Self::RealServer,
        Self::Sandbox,
        Self::Mesh,
        Self::Program,
        Self::VirtualServer,
        Self::Assignment,
    ];

    /// The word for it in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Link => "link",
            Self::Address => "address",
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Neighbour => "neighbour",
            Self::Forwarding => "forwarding",
            Self::Sysctl => "sysctl",
            Self::Firewall => "firewall",
            Self::VirtualService => "virtual_service",
            Self::RealServer => "real_server",
            Self::Sandbox => "sandbox",
            Self::Mesh => "mesh",
            Self::Program => "program",
            Self::VirtualServer => "virtual_server",
            Self::Assignment => "assignment",
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.namespace.is_empty() {
            write!(f, " in {}", self.namespace)?;
        }
        f.write_str(match self.found {
            Found::Missing => " is missing",
            Found::Different => " differs",
            Found::Unexpected => " should not be there",
        })?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_word_in_json_and_metrics() {
        for kind in DeviationKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
