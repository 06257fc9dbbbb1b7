//! What changes between two assignments of a node, so that a task more or less in a large cluster costs one line on the
//! wire and not all of it.

use serde::{Deserialize, Serialize};
use shoal_model::assignment::{NetworkAssignment, NetworkEndpoint, ServiceOnNetwork, TaskAssignment};
use shoal_model::node::NodeAttachment;
use shoal_model::{
    Assignment, Config, ConfigId, Network, NetworkId, NodeId, Secret, SecretId, ServiceId, TaskId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A difference does not fit the assignment that it was to be applied to; the whole must be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the difference from assignment {from} does not fit assignment {held}: {what}")]
pub struct DiffMismatch {
    /// What the difference starts from.
    pub from: u64,
    /// What is held.
    pub held: u64,
    /// What does not fit.
    pub what: &'static str,
}

/// What changes in a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize + Ord, V: Serialize",
    deserialize = "K: Deserialize<'de> + Ord, V: Deserialize<'de>"
))]
pub struct MapDiff<K, V> {
    /// Entries that are new or different.
    pub changed: BTreeMap<K, V>,
    /// Keys that are gone.
    pub removed: BTreeSet<K>,
}

impl<K: Ord + Clone, V: PartialEq + Clone> MapDiff<K, V> {
    /// What turns `from` into `to`.
    pub fn between(from: &BTreeMap<K, V>, to: &BTreeMap<K, V>) -> Self {
        let changed = to.iter().filter(|(key, value)| from.get(key) != Some(value));
        let removed = from.keys().filter(|key| !to.contains_key(key));
        Self {
            changed: changed.map(|(key, value)| (key.clone(), value.clone())).collect(),
            removed: removed.cloned().collect(),
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    /// Changes the map; false if a key that should go is not there.
    fn apply(self, map: &mut BTreeMap<K, V>) -> bool {
        let missing = self.removed.iter().filter(|key| map.remove(key).is_none()).count();
        map.extend(self.changed);
        missing == 0
    }
}

/// What changes on one network that stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkDiff {
    /// Everything but the maps, if any of it is different.
    pub head: Option<NetworkHead>,
    /// Endpoints.
    pub endpoints: MapDiff<String, NetworkEndpoint>,
    /// Services.
    pub services: MapDiff<ServiceId, ServiceOnNetwork>,
    /// Nodes that take part.
    pub peers: MapDiff<NodeId, IpAddr>,
}

/// A network's assignment without its maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkHead {
    network: Network,
    data_path_port: u16,
    own: Option<NodeAttachment>,
}

impl NetworkHead {
    fn of(network: &NetworkAssignment) -> Self {
        Self {
            network: network.network.clone(),
            data_path_port: network.data_path_port,
            own: network.own.clone(),
        }
    }
}

impl NetworkDiff {
    fn between(from: &NetworkAssignment, to: &NetworkAssignment) -> Self {
        let head = NetworkHead::of(to);
        Self {
            head: (NetworkHead::of(from) != head).then_some(head),
            endpoints: MapDiff::between(&from.endpoints, &to.endpoints),
            services: MapDiff::between(&from.services, &to.services),
            peers: MapDiff::between(&from.peers, &to.peers),
        }
    }

    fn is_empty(&self) -> bool {
        self.head.is_none() && self.endpoints.is_empty() && self.services.is_empty() && self.peers.is_empty()
    }

    fn apply(self, network: &mut NetworkAssignment) -> bool {
        if let Some(head) = self.head {
            network.network = head.network;
            network.data_path_port = head.data_path_port;
            network.own = head.own;
        }
        let endpoints = self.endpoints.apply(&mut network.endpoints);
        let services = self.services.apply(&mut network.services);
        let peers = self.peers.apply(&mut network.peers);
        endpoints && services && peers
    }
}

/// What changes between two assignments of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignmentDiff {
    /// The version that it starts from.
    pub from: u64,
    /// The version that it leads to. The same version means that only what is not in the log has changed (a node is
    /// suspected).
    pub to: u64,
    /// Tasks.
    pub tasks: MapDiff<TaskId, TaskAssignment>,
    /// Networks that come, whole, and networks that go.
    pub networks: MapDiff<NetworkId, NetworkAssignment>,
    /// Networks that stay and change.
    pub within: BTreeMap<NetworkId, NetworkDiff>,
    /// Secrets.
    pub secrets: MapDiff<SecretId, Secret>,
    /// Configs.
    pub configs: MapDiff<ConfigId, Config>,
}

impl AssignmentDiff {
    /// What turns `from` into `to`.
    pub fn between(from: &Assignment, to: &Assignment) -> Self {
        let mut networks = MapDiff { changed: BTreeMap::new(), removed: BTreeSet::new() };
        let mut within = BTreeMap::new();
        for (id, network) in &to.networks {
            match from.networks.get(id) {
                None => _ = networks.changed.insert(id.clone(), network.clone()),
                Some(old) => {
                    let diff = NetworkDiff::between(old, network);
                    if !diff.is_empty() {
                        within.insert(id.clone(), diff);
                    }
                }
            }
        }
        networks.removed.extend(from.networks.keys().filter(|id| !to.networks.contains_key(*id)).cloned());
        Self {
            from: from.version,
            to: to.version,
            tasks: MapDiff::between(&from.tasks, &to.tasks),
            networks,
            within,
            secrets: MapDiff::between(&from.secrets, &to.secrets),
            configs: MapDiff::between(&from.configs, &to.configs),
        }
    }

    /// Whether nothing changes, not even the version.
    pub fn is_empty(&self) -> bool {
        self.from == self.to && self.only_version()
    }

    /// Whether nothing but the version changes.
    pub fn only_version(&self) -> bool {
        self.tasks.is_empty()
            && self.networks.is_empty()
            && self.within.is_empty()
            && self.secrets.is_empty()
            && self.configs.is_empty()
    }

    /// The assignment that it leads to from `held`.
    pub fn apply(self, held: &Assignment) -> Result<Assignment, DiffMismatch> {
        let mismatch = |what| DiffMismatch { from: self.from, held: held.version, what };
        if self.from != held.version {
            return Err(mismatch("another version is held"));
        }
        let mut next = held.clone();
        next.version = self.to;
        if !self.tasks.apply(&mut next.tasks) {
            return Err(mismatch("a task to remove is not there"));
        }
        if !self.networks.apply(&mut next.networks) {
            return Err(mismatch("a network to remove is not there"));
        }
        for (id, diff) in self.within {
            let fits = next.networks.get_mut(&id).is_some_and(|network| diff.apply(network));
            if !fits {
                return Err(mismatch("a network to change is not as it was"));
            }
        }
        if !self.secrets.apply(&mut next.secrets) || !self.configs.apply(&mut next.configs) {
            return Err(mismatch("a secret or config to remove is not there"));
        }
        Ok(next)
    }
}
