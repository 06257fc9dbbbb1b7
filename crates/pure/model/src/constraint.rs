//! Placement constraints such as `node.labels.zone==a`, parsed once.

use crate::Node;
use std::fmt;

/// One parsed placement constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// What is compared.
    pub key: Key,
    /// Whether it must be equal (`==`) or must not (`!=`).
    pub equal: bool,
    /// The value compared with, as written.
    pub value: String,
}

/// What of a node a constraint looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// `node.id`
    NodeId,
    /// `node.hostname`
    Hostname,
    /// `node.ip` (the value may be a subnet)
    Ip,
    /// `node.role`
    Role,
    /// `node.platform.os`
    PlatformOs,
    /// `node.platform.arch`
    PlatformArch,
    /// `node.labels.KEY`
    NodeLabel(String),
    /// `engine.labels.KEY`
    EngineLabel(String),
}

/// Why a text is not a constraint; the words are swarmkit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConstraint {
    /// Neither `==` nor `!=` in it.
    #[error("constraint expected one operator from ==, !=")]
    NoOperator,
    /// The part before the operator cannot be a key.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// The part behind the operator is empty.
    #[error("value '{0}' is invalid")]
    Value(String),
}

impl std::str::FromStr for Constraint {
    type Err = InvalidConstraint;
    fn from_str(text: &str) -> Result<Self, InvalidConstraint> {
        let (key, value, equal) = match (text.split_once("=="), text.split_once("!=")) {
            (Some((k, v)), None) => (k, v, true),
            (None, Some((k, v))) => (k, v, false),
            (Some((k, v)), Some((k2, _))) if k.len() < k2.len() => (k, v, true),
            (Some(_), Some((k, v))) => (k, v, false),
            (None, None) => return Err(InvalidConstraint::NoOperator),
        };
        let (key, value) = (key.trim(), value.trim());
        if value.is_empty() {
            return Err(InvalidConstraint::Value(value.to_owned()));
        }
        let parsed = parse_key(key).ok_or_else(|| InvalidConstraint::Key(key.to_owned()))?;
        Ok(Self { key: parsed, equal, value: value.to_owned() })
    }
}

fn parse_key(key: &str) -> Option<Key> {
    let lower = key.to_ascii_lowercase();
    let label = |prefix: &str| {
        lower.starts_with(prefix).then(|| key[prefix.len()..].to_owned()).filter(|label| !label.is_empty())
    };
    Some(match lower.as_str() {
        "node.id" => Key::NodeId,
        "node.hostname" => Key::Hostname,
        "node.ip" => Key::Ip,
        "node.role" => Key::Role,
        "node.platform.os" => Key::PlatformOs,
        "node.platform.arch" => Key::PlatformArch,
        _ => match (label("node.labels."), label("engine.labels.")) {
            (Some(label), _) => Key::NodeLabel(label),
            (_, Some(label)) => Key::EngineLabel(label),
            _ => return None,
        },
    })
}

impl Constraint {
    /// Whether `node` satisfies the constraint. Values are compared without regard to case, as swarmkit does.
    pub fn admits(&self, node: &Node) -> bool {
        let description = &node.description;
        let same = |actual: &str| actual.eq_ignore_ascii_case(&self.value);
        let holds = match &self.key {
            Key::NodeId => same(node.id.as_str()),
            Key::Hostname => same(&description.hostname),
            Key::Ip => self.matches_address(&node.status.addr),
            Key::Role => same(node.spec.role.as_str()),
            Key::PlatformOs => same(&description.platform.os),
            Key::PlatformArch => same_arch(&description.platform.architecture, &self.value),
            Key::NodeLabel(label) => same(node.spec.labels.get(label).map_or("", String::as_str)),
            Key::EngineLabel(label) => same(description.engine.labels.get(label).map_or("", String::as_str)),
        };
        holds == self.equal
    }

    fn matches_address(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
        match self.value.parse::<ipnet::IpNet>() {
            Ok(subnet) => subnet.contains(&address),
            Err(_) => self.value.parse::<std::net::IpAddr>().is_ok_and(|wanted| wanted == address),
        }
    }
}

/// Compares processor names, taking `amd64`/`x86_64` and `arm64`/`aarch64` for the same.
pub fn same_arch(a: &str, b: &str) -> bool {
    canonical_arch(a).eq_ignore_ascii_case(canonical_arch(b))
}

fn canonical_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.key {
            Key::NodeId => "node.id".to_owned(),
            Key::Hostname => "node.hostname".to_owned(),
            Key::Ip => "node.ip".to_owned(),
            Key::Role => "node.role".to_owned(),
            Key::PlatformOs => "node.platform.os".to_owned(),
            Key::PlatformArch => "node.platform.arch".to_owned(),
            Key::NodeLabel(label) => format!("node.labels.{label}"),
            Key::EngineLabel(label) => format!("engine.labels.{label}"),
        };
        write!(f, "{key}{}{}", if self.equal { "==" } else { "!=" }, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_operators_and_values() {
        for (text, printed) in [
            ("node.role==manager", "node.role==manager"),
            ("node.hostname != a", "node.hostname!=a"),
            ("node.labels.Zone == x==y", "node.labels.Zone==x==y"),
            ("engine.labels.ssd!=no", "engine.labels.ssd!=no"),
        ] {
            assert_eq!(text.parse::<Constraint>().unwrap().to_string(), printed);
        }
        assert_eq!("node.role".parse::<Constraint>(), Err(InvalidConstraint::NoOperator));
        assert!(matches!("bogus==1".parse::<Constraint>(), Err(InvalidConstraint::Key(_))));
        assert!(matches!("node.role==".parse::<Constraint>(), Err(InvalidConstraint::Value(_))));
    }
}
