//! What the nodes hold already, as far as it bears on where the next task goes.

use shoal_model::spec::{Protocol, TaskSpec};
use shoal_model::{Node, NodeId, ServiceId, Task, TaskState, Timestamp};
use shoal_store::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Failures of a service on a node are remembered for so long (swarmkit `monitorFailures`).
const FAILURES_WINDOW: Duration = Duration::from_mins(5);
/// So many failures make a node a last resort (swarmkit `maxFailures`).
const FAILURES_MAX: u32 = 5;

/// One node and what is on it.
pub(super) struct NodeLoad {
    pub(super) node: Arc<Node>,
    /// Reserved billionths of a CPU.
    pub(super) nano_cpus: i64,
    /// Reserved bytes of memory.
    pub(super) memory_bytes: i64,
    /// Tasks that run or are about to.
    pub(super) tasks: u32,
    pub(super) of_service: BTreeMap<ServiceId, u32>,
    pub(super) host_ports: BTreeSet<(Protocol, u16)>,
    failures: BTreeMap<ServiceId, u32>,
}

impl NodeLoad {
    pub(super) fn tasks_of(&self, service: &ServiceId) -> u32 {
        self.of_service.get(service).copied().unwrap_or(0)
    }

    pub(super) fn keeps_failing(&self, service: &ServiceId) -> bool {
        self.failures.get(service).is_some_and(|failures| *failures >= FAILURES_MAX)
    }

    fn take_on(&mut self, task: &Task) {
        let (nano_cpus, memory_bytes) = reserved(&task.spec);
        self.nano_cpus += nano_cpus;
        self.memory_bytes += memory_bytes;
        self.host_ports.extend(task.host_ports.iter().map(|port| (port.transport(), port.published_port)));
        if task.desired <= TaskState::Running {
            self.tasks += 1;
            *self.of_service.entry(task.service.clone()).or_default() += 1;
        }
    }
}

/// What a task sets aside: billionths of a CPU, and bytes of memory.
pub(super) fn reserved(spec: &TaskSpec) -> (i64, i64) {
    let reservations = spec.resources.as_ref().and_then(|resources| resources.reservations.as_ref());
    reservations.map_or((0, 0), |r| (r.nano_cpus, r.memory_bytes))
}

pub(super) struct NodeSet {
    nodes: BTreeMap<NodeId, NodeLoad>,
}

impl NodeSet {
    pub(super) fn gather(state: &State, now: Timestamp) -> Self {
        let load = |node: &Arc<Node>| NodeLoad {
            node: Arc::clone(node),
            nano_cpus: 0,
            memory_bytes: 0,
            tasks: 0,
            of_service: BTreeMap::new(),
            host_ports: BTreeSet::new(),
            failures: BTreeMap::new(),
        };
        let mut nodes: BTreeMap<_, _> = state.nodes().iter().map(|(id, n)| (id.clone(), load(n))).collect();
        for (id, load) in &mut nodes {
            for task in state.tasks_of_node(id) {
                let status = &task.status;
                if (TaskState::Assigned..=TaskState::Running).contains(&status.state) {
                    load.take_on(task);
                } else if failed_lately(task, now) {
                    *load.failures.entry(task.service.clone()).or_default() += 1;
                }
            }
        }
        Self { nodes }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    pub(super) fn get(&self, node: &NodeId) -> Option<&NodeLoad> {
        self.nodes.get(node)
    }

    pub(super) fn loads(&self) -> impl Iterator<Item = &NodeLoad> {
        self.nodes.values()
    }

    /// Notes that a task goes to a node.
    pub(super) fn add(&mut self, node: &NodeId, task: &Task) {
        if let Some(load) = self.nodes.get_mut(node) {
            load.take_on(task);
        }
    }
}

fn failed_lately(task: &Task, now: Timestamp) -> bool {
    matches!(task.status.state, TaskState::Failed | TaskState::Rejected)
        && now.since(task.status.timestamp) < FAILURES_WINDOW
}
