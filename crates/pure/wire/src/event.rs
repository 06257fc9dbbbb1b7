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
