//! How a service is reached.

use super::is_default;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointSpec {
    /// Virtual IP, or the tasks' own addresses by DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<EndpointMode>,
    /// Published ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
}

/// Virtual IP or DNS round robin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointMode {
    /// One address, balanced.
    #[default]
    #[serde(alias = "")]
    Vip,
    /// DNS answers with the tasks' addresses.
    Dnsrr,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortConfig {
    /// A name, kept as sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Transport protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Port in the container.
    #[serde(skip_serializing_if = "is_default")]
    pub target_port: u16,
    /// Port on the nodes; 0 asks for one from 30000 to 32767.
    #[serde(skip_serializing_if = "is_default")]
    pub published_port: u16,
    /// On every node, or on the task's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_mode: Option<PublishMode>,
}

impl PortConfig {
    /// The protocol, tcp unless said otherwise.
    pub fn transport(&self) -> Protocol {
        self.protocol.unwrap_or_default()
    }

    /// The publish mode, ingress unless said otherwise.
    pub fn mode(&self) -> PublishMode {
        self.publish_mode.unwrap_or_default()
    }
}

/// Transport protocols that can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(alias = "")]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in an IP header.
    pub fn ip_number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Where a published port answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishMode {
    /// On every node, through the routing mesh.
    #[default]
    #[serde(alias = "")]
    Ingress,
    /// On the task's own node only.
    Host,
}
