//! Everything the cluster holds, with indexes.

use crate::claim::{Claim, claims_of};
use crate::{Object, ObjectKey, Rejected};
use shoal_model::{
    Cluster, Config, ConfigId, Network, NetworkId, Node, NodeId, Secret, SecretId, Service, ServiceId, Task,
    TaskId,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type Tasks = Arc<BTreeMap<TaskId, Arc<Task>>>;

/// Everything the cluster holds. A clone shares all of it until one of the two changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    pub(crate) index: u64,
    /// The log entry by which the control loop's last plan was applied.
    pub(crate) planned: u64,
    pub(crate) cluster: Option<Arc<Cluster>>,
    nodes: Arc<BTreeMap<NodeId, Arc<Node>>>,
    services: Arc<BTreeMap<ServiceId, Arc<Service>>>,
    tasks: Tasks,
    networks: Arc<BTreeMap<NetworkId, Arc<Network>>>,
    secrets: Arc<BTreeMap<SecretId, Arc<Secret>>>,
    configs: Arc<BTreeMap<ConfigId, Arc<Config>>>,
    by_service: Arc<BTreeMap<ServiceId, Tasks>>,
    by_node: Arc<BTreeMap<NodeId, Tasks>>,
    claims: Arc<BTreeMap<Claim, ObjectKey>>,
}

impl State {
    /// The log entry that was applied last; 0 before the first.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The cluster object, once the swarm has been made.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// All nodes.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Arc<Node>> {
        &self.nodes
    }

    /// All services.
    pub fn services(&self) -> &BTreeMap<ServiceId, Arc<Service>> {
        &self.services
    }

    /// All tasks, ended ones too.
    pub fn tasks(&self) -> &BTreeMap<TaskId, Arc<Task>> {
        &self.tasks
    }

    /// All networks of the swarm.
    pub fn networks(&self) -> &BTreeMap<NetworkId, Arc<Network>> {
        &self.networks
    }

    /// All secrets.
    pub fn secrets(&self) -> &BTreeMap<SecretId, Arc<Secret>> {
        &self.secrets
    }

    /// All configs.
    pub fn configs(&self) -> &BTreeMap<ConfigId, Arc<Config>> {
        &self.configs
    }

    /// The tasks of a service in order of their ids, also of one that has been removed.
    pub fn tasks_of_service(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        self.by_service.get(service).into_iter().flat_map(|tasks| tasks.values())
    }

    /// The tasks of a node in order of their ids.
    pub fn tasks_of_node(&self, node: &NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.by_node.get(node).into_iter().flat_map(|tasks| tasks.values())
    }

    /// Services that still have tasks, removed ones too.
    pub fn services_with_tasks(&self) -> impl Iterator<Item = &ServiceId> {
        self.by_service.keys()
    }

    /// The network that the routing mesh runs over.
    pub fn ingress_network(&self) -> Option<&Arc<Network>> {
        self.networks.values().find(|network| network.spec.ingress)
    }

    /// Who holds something that can be held once only.
    pub fn holder(&self, claim: &Claim) -> Option<&ObjectKey> {
        self.claims.get(claim)
    }

    /// The addresses of a network that are held, with their holders, in order.
    pub fn addresses_held(
        &self,
        network: &NetworkId,
    ) -> impl Iterator<Item = (std::net::IpAddr, &ObjectKey)> {
        let lowest = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let from = Claim::Address(network.clone(), lowest);
        self.claims.range((Bound::Included(from), Bound::Unbounded)).map_while(move |(claim, by)| match claim
        {
            Claim::Address(of, address) if of == network => Some((*address, by)),
            _ => None,
        })
    }

    /// Any stored object.
    pub fn get(&self, key: &ObjectKey) -> Option<Object> {
        match key {
            ObjectKey::Cluster(id) => self.cluster.clone().filter(|c| &c.id == id).map(Object::Cluster),
            ObjectKey::Node(id) => self.nodes.get(id).cloned().map(Object::Node),
            ObjectKey::Service(id) => self.services.get(id).cloned().map(Object::Service),
            ObjectKey::Task(id) => self.tasks.get(id).cloned().map(Object::Task),
            ObjectKey::Network(id) => self.networks.get(id).cloned().map(Object::Network),
            ObjectKey::Secret(id) => self.secrets.get(id).cloned().map(Object::Secret),
            ObjectKey::Config(id) => self.configs.get(id).cloned().map(Object::Config),
        }
    }

    /// Puts an object in its place, or empties the place; returns what was there. Every index follows. The only way by
    /// which the state's objects change, so that it can be undone by putting back what was returned.
    pub(crate) fn set(&mut self, key: &ObjectKey, value: Option<Object>) -> Result<Option<Object>, Rejected> {
        let old = self.get(key);
        let (had, has) = (
            old.as_ref().map(claims_of).unwrap_or_default(),
            value.as_ref().map(claims_of).unwrap_or_default(),
        );
        if had != has {
            for claim in &has {
                match self.claims.get(claim) {
                    Some(by) if by != key => return Err(self.taken(claim, by)),
                    _ => {}
                }
            }
            let claims = Arc::make_mut(&mut self.claims);
            for claim in had {
                claims.remove(&claim);
            }
            claims.extend(has.into_iter().map(|claim| (claim, key.clone())));
        }
        if let ObjectKey::Task(id) = key {
            self.index_task(id, old.as_ref(), value.as_ref());
        }
        self.place(key, value);
        Ok(old)
    }

    fn taken(&self, claim: &Claim, by: &ObjectKey) -> Rejected {
        let by = by.clone();
        match claim {
            Claim::Name(kind, name) => Rejected::NameConflict { kind: *kind, name: name.clone() },
            Claim::Vni(vni) => Rejected::VniInUse { vni: *vni, by },
            Claim::RaftId(raft_id) => Rejected::RaftIdInUse { raft_id: *raft_id, by },
            Claim::Address(network, address) => {
                Rejected::AddressInUse { network: network.clone(), address: *address, by }
            }
            Claim::Port(protocol, port) => match by {
                ObjectKey::Service(service) => {
                    let name = self.services.get(&service).map(|s| s.spec.name.clone()).unwrap_or_default();
                    Rejected::PortInUse { protocol: *protocol, port: *port, service, name }
                }
                by => Rejected::Exists { key: by },
            },
        }
    }

    fn index_task(&mut self, id: &TaskId, old: Option<&Object>, new: Option<&Object>) {
        if let Some(Object::Task(task)) = old {
            forget(Arc::make_mut(&mut self.by_service), &task.service, id);
            if let Some(node) = &task.node {
                forget(Arc::make_mut(&mut self.by_node), node, id);
            }
        }
        if let Some(Object::Task(task)) = new {
            let of_service = Arc::make_mut(&mut self.by_service).entry(task.service.clone()).or_default();
            Arc::make_mut(of_service).insert(id.clone(), Arc::clone(task));
            if let Some(node) = &task.node {
                let of_node = Arc::make_mut(&mut self.by_node).entry(node.clone()).or_default();
                Arc::make_mut(of_node).insert(id.clone(), Arc::clone(task));
            }
        }
    }

    fn place(&mut self, key: &ObjectKey, value: Option<Object>) {
        match (key, value) {
            (_, Some(Object::Cluster(cluster))) => self.cluster = Some(cluster),
            (_, Some(Object::Node(o))) => put(&mut self.nodes, o.id.clone(), o),
            (_, Some(Object::Service(o))) => put(&mut self.services, o.id.clone(), o),
            (_, Some(Object::Task(o))) => put(&mut self.tasks, o.id.clone(), o),
            (_, Some(Object::Network(o))) => put(&mut self.networks, o.id.clone(), o),
            (_, Some(Object::Secret(o))) => put(&mut self.secrets, o.id.clone(), o),
            (_, Some(Object::Config(o))) => put(&mut self.configs, o.id.clone(), o),
            (ObjectKey::Cluster(_), None) => self.cluster = None,
            (ObjectKey::Node(id), None) => remove(&mut self.nodes, id),
            (ObjectKey::Service(id), None) => remove(&mut self.services, id),
            (ObjectKey::Task(id), None) => remove(&mut self.tasks, id),
            (ObjectKey::Network(id), None) => remove(&mut self.networks, id),
            (ObjectKey::Secret(id), None) => remove(&mut self.secrets, id),
            (ObjectKey::Config(id), None) => remove(&mut self.configs, id),
        }
    }
}

fn put<K: Ord + Clone, V>(map: &mut Arc<BTreeMap<K, Arc<V>>>, id: K, value: Arc<V>) {
    Arc::make_mut(map).insert(id, value);
}

fn remove<K: Ord + Clone, V>(map: &mut Arc<BTreeMap<K, Arc<V>>>, id: &K) {
    Arc::make_mut(map).remove(id);
}

fn forget<K: Ord>(index: &mut BTreeMap<K, Tasks>, of: &K, id: &TaskId) {
    if let Some(tasks) = index.get_mut(of) {
        Arc::make_mut(tasks).remove(id);
        if tasks.is_empty() {
            index.remove(of);
        }
    }
}
