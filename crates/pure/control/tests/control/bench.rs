//! A workbench: a state that plans are made for and written to, with nodes that do as they are told.

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use shoal_control::{Founding, Liveness, Plan, admit, assign, bootstrap, tick};
use shoal_model::cluster::{ClusterSpec, JoinTokens};
use shoal_model::network::NetworkSpec;
use shoal_model::node::{
    Availability, NodeDescription, NodeResources, NodeRole, NodeSpec, NodeState, NodeStatus,
};
use shoal_model::spec::{
    ContainerSpec, EndpointSpec, NetworkAttachment, PortConfig, ReplicatedService, ServiceMode, ServiceSpec,
    TaskSpec,
};
use shoal_model::task::Owner;
use shoal_model::{
    Assignment, ClusterId, Meta, NetworkId, Node, NodeId, Service, ServiceId, Task, TaskReport, TaskState,
    TaskStatus, Timestamp, Version,
};
use shoal_store::{Batch, Change, Entry, Object, Rejected, State, apply};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

pub(crate) struct Bench {
    pub(crate) state: State,
    pub(crate) liveness: Liveness,
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha12Rng,
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn node_id(n: usize) -> NodeId {
    NodeId::from_random((n as u128 + 1) << 100)
}

pub(crate) fn node(n: usize) -> Node {
    Node {
        id: node_id(n),
        meta: Meta::default(),
        spec: NodeSpec {
            role: if n == 0 { NodeRole::Manager } else { NodeRole::Worker },
            ..NodeSpec::default()
        },
        description: NodeDescription {
            hostname: format!("n{n}"),
            resources: NodeResources { nano_cpus: 4_000_000_000, memory_bytes: 4 << 30 },
            ..NodeDescription::default()
        },
        status: NodeStatus {
            state: NodeState::Ready,
            addr: format!("192.168.{}.{}", n / 200, n % 200 + 10),
            ..NodeStatus::default()
        },
        manager_addr: None,
        raft_id: None,
        attachments: BTreeMap::new(),
        certificate_digest: String::new(),
    }
}

/// A service of one container from image `image:1`.
pub(crate) fn spec(name: &str, replicas: u64) -> ServiceSpec {
    let container = ContainerSpec { image: "image:1".to_owned(), ..ContainerSpec::default() };
    let replicated = ReplicatedService { replicas: Some(replicas) };
    ServiceSpec {
        name: name.to_owned(),
        task_template: TaskSpec { container_spec: Some(container), ..TaskSpec::default() },
        mode: ServiceMode { replicated: Some(replicated), ..ServiceMode::default() },
        ..ServiceSpec::default()
    }
}

pub(crate) fn publish(mut spec: ServiceSpec, port: u16) -> ServiceSpec {
    let port = PortConfig { target_port: 80, published_port: port, ..PortConfig::default() };
    spec.endpoint_spec = Some(EndpointSpec { mode: None, ports: vec![port] });
    spec
}

pub(crate) fn on(mut spec: ServiceSpec, network: &str) -> ServiceSpec {
    let target = network.to_owned();
    spec.task_template.networks.push(NetworkAttachment { target, ..NetworkAttachment::default() });
    spec
}

impl Bench {
    /// A swarm of so many nodes, all ready.
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with_pools(nodes, &[])
    }

    /// A swarm founded with these address pools.
    pub(crate) fn with_pools(nodes: usize, pools: &[&str]) -> Self {
        let mut bench = Self {
            state: State::default(),
            liveness: Liveness { leader_since: START, ..Liveness::default() },
            now: START,
            rng: ChaCha12Rng::seed_from_u64(1),
        };
        let founding = Founding {
            cluster: ClusterId::from_random(7),
            spec: ClusterSpec::default(),
            default_addr_pool: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
            subnet_size: 0,
            data_path_port: 0,
            root_ca: String::new(),
            root_ca_key: String::new(),
            join_tokens: JoinTokens::default(),
            node: node(0),
        };
        let mut changes = bootstrap(founding, START, &mut bench.rng);
        changes.extend((1..nodes).map(|n| Change::Create(Object::from(node(n)))));
        bench.write(changes).unwrap();
        bench.all_heard();
        bench
    }

    pub(crate) fn write(&mut self, changes: Vec<Change>) -> Result<(), Rejected> {
        let index = self.state.index() + 1;
        let entry = Entry { batches: vec![Batch { now: self.now, changes }] };
        apply(&mut self.state, index, &entry).remove(0)
    }

    pub(crate) fn all_heard(&mut self) {
        for node in self.state.nodes().keys() {
            self.liveness.heard(node, self.now);
        }
    }

    pub(crate) fn plan(&mut self) -> Plan {
        tick(&self.state, &self.liveness, self.now, &mut self.rng)
    }

    /// Plans and carries out until there is nothing left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200 {
            let plan = self.plan();
            if plan.changes.is_empty() {
                return;
            }
            self.write(plan.changes).unwrap();
        }
        panic!("the control loop does not come to rest");
    }

    /// Lets time pass while all nodes are heard.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.all_heard();
        self.settle();
    }

    /// Lets every node do what it is told, and the control loop follow, until nothing moves.
    pub(crate) fn run(&mut self) {
        loop {
            self.settle();
            let reports = self.news();
            if reports.is_empty() {
                return;
            }
            self.write(vec![Change::ReportTasks { owner: Owner::Agent, reports }]).unwrap();
        }
    }

    fn news(&self) -> Vec<TaskReport> {
        let on_live_node = |task: &&Arc<Task>| {
            let node = task.node.as_ref().and_then(|id| self.state.nodes().get(id));
            node.is_some_and(|node| node.status.state == NodeState::Ready)
        };
        let tasks = self.state.tasks().values().filter(on_live_node);
        tasks
            .filter_map(|task| {
                let state = task.status.state;
                let begun = (TaskState::Assigned..=TaskState::Running).contains(&state);
                let next = match task.desired {
                    _ if !begun => return None,
                    TaskState::Ready if state < TaskState::Ready => TaskState::Ready,
                    TaskState::Running if state < TaskState::Running => TaskState::Running,
                    desired if desired > TaskState::Running => TaskState::Shutdown,
                    _ => return None,
                };
                Some(Self::report(task, next))
            })
            .collect()
    }

    fn report(task: &Task, state: TaskState) -> TaskReport {
        TaskReport { id: task.id.clone(), status: TaskStatus { state, ..TaskStatus::default() } }
    }

    /// A node tells of a task.
    pub(crate) fn tell(&mut self, task: &Task, state: TaskState) {
        let reports = vec![Self::report(task, state)];
        self.write(vec![Change::ReportTasks { owner: Owner::Agent, reports }]).unwrap();
    }

    pub(crate) fn create(&mut self, spec: ServiceSpec) -> ServiceId {
        let service = admit::create_service(&self.state, spec, self.now, &mut self.rng).unwrap();
        let id = service.id.clone();
        self.write(vec![Change::Create(Object::from(service))]).unwrap();
        id
    }

    pub(crate) fn update(&mut self, id: &ServiceId, change: impl FnOnce(&mut ServiceSpec)) {
        let stored = self.service(id);
        let mut spec = stored.spec.clone();
        change(&mut spec);
        let version = stored.meta.version;
        let changed = admit::update_service(&self.state, id, version, spec, false, self.now).unwrap();
        self.write(vec![Change::Update(Object::from(changed))]).unwrap();
    }

    pub(crate) fn rollback(&mut self, id: &ServiceId) {
        let stored = self.service(id);
        let version = stored.meta.version;
        let changed =
            admit::update_service(&self.state, id, version, ServiceSpec::default(), true, self.now).unwrap();
        self.write(vec![Change::Update(Object::from(changed))]).unwrap();
    }

    pub(crate) fn network(&mut self, spec: NetworkSpec) -> NetworkId {
        let network = admit::create_network(&self.state, spec, "overlay", self.now, &mut self.rng).unwrap();
        let id = network.id.clone();
        self.write(vec![Change::Create(Object::from(network))]).unwrap();
        id
    }

    pub(crate) fn set_node(&mut self, n: usize, change: impl FnOnce(&mut Node)) {
        let mut node = Node::clone(&self.state.nodes()[&node_id(n)]);
        change(&mut node);
        self.write(vec![Change::Update(Object::from(node))]).unwrap();
    }

    pub(crate) fn drain(&mut self, n: usize) {
        self.set_node(n, |node| node.spec.availability = Availability::Drain);
    }

    /// A node falls silent for good.
    pub(crate) fn lose(&mut self, n: usize) {
        self.now = self.now.plus(seconds(20));
        for (id, node) in self.state.nodes() {
            let silent = *id == node_id(n) || node.status.state == NodeState::Down;
            if !silent {
                self.liveness.heard(id, self.now);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: impl Into<shoal_store::ObjectKey>) {
        self.write(vec![Change::Remove { key: key.into(), if_version: None }]).unwrap();
    }

    pub(crate) fn service(&self, id: &ServiceId) -> Service {
        Service::clone(&self.state.services()[id])
    }

    /// The tasks that are meant to run, by slot.
    pub(crate) fn active(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        let tasks = self.state.tasks_of_service(service);
        let mut tasks: Vec<_> = tasks.filter(|task| task.desired <= TaskState::Running).cloned().collect();
        tasks.sort_by_key(|task| (task.slot, task.node.clone(), task.meta.created_at));
        tasks
    }

    pub(crate) fn slots(&self, service: &ServiceId) -> Vec<u64> {
        self.active(service).iter().map(|task| task.slot).collect()
    }

    /// The names of the nodes that a service's tasks are on, in order of the slots.
    pub(crate) fn nodes_of(&self, service: &ServiceId) -> Vec<String> {
        let name = |task: &Arc<Task>| {
            task.node
                .as_ref()
                .map_or("-".to_owned(), |id| self.state.nodes()[id].description.hostname.clone())
        };
        self.active(service).iter().map(name).collect()
    }

    pub(crate) fn states_of(&self, service: &ServiceId) -> Vec<TaskState> {
        self.active(service).iter().map(|task| task.status.state).collect()
    }

    pub(crate) fn assignment(&self, n: usize) -> Assignment {
        assign(&self.state, &self.liveness, &node_id(n))
    }
}

pub(crate) fn version(index: u64) -> Version {
    Version { index }
}
