//! Events.

use shoal_model::Timestamp;
use std::collections::BTreeMap;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it happened to: `container`, `image`, `network`, `service`, `node`, `secret`, `config`, `daemon`, `volume`.
    pub kind: String,
    /// What happened: `start`, `die`, `create`, `update`, …
    pub action: String,
    /// The object's id.
    pub id: String,
    /// Facts such as `name`, `image`, `exitCode`.
    pub attributes: BTreeMap<String, String>,
    /// `local` or `swarm`.
    pub scope: Scope,
    /// When.
    pub at: Timestamp,
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This host.
    Local,
    /// The swarm.
    Swarm,
}

impl Event {
    /// The object that travels.
    pub fn body(&self) -> serde_json::Value {
        use serde_json::json;
        let mut body = serde_json::Map::new();
        if matches!(self.kind.as_str(), "container" | "image") {
            body.insert("status".to_owned(), json!(self.action));
            body.insert("id".to_owned(), json!(self.id));
            if let (true, Some(image)) = (self.kind == "container", self.attributes.get("image")) {
                body.insert("from".to_owned(), json!(image));
            }
        }
        let scope = match self.scope {
            Scope::Local => "local",
            Scope::Swarm => "swarm",
        };
        let rest = json!({
            "Type": self.kind,
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "scope": scope,
            "time": self.at.unix_seconds(),
            "timeNano": self.at.0,
        });
        if let serde_json::Value::Object(rest) = rest {
            body.extend(rest);
        }
        serde_json::Value::Object(body)
    }
}
