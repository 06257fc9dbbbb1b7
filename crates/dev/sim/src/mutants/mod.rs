//! Bugs put back: each stands in for a part of the brain and does it wrong in one way. An invariant that does not notice
//! its mutant would not notice the bug either.

use crate::brain::Brain;
use rand::RngCore;
use shoal_control::{Liveness, Plan};
use shoal_model::node::Availability;
use shoal_model::task::Owner;
use shoal_model::{Assignment, NodeId, Task, TaskReport, TaskState, Timestamp};
use shoal_store::{Change, Entry, Object, Rejected, State, apply};
use std::sync::Arc;

/// A mutant, and the invariant that must notice it.
pub struct Mutant {
    /// What it does.
    pub name: &'static str,
    /// The invariants of which one must notice it.
    pub noticed_by: &'static [&'static str],
    /// Makes it.
    pub brain: fn() -> Box<dyn Brain>,
}

/// All mutants.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the scheduler ignores drain",
        noticed_by: &["drained"],
        brain: || Box::new(IgnoresDrain),
    },
    Mutant {
        name: "the allocator forgets the nodes' addresses",
        noticed_by: &["converged", "idle"],
        brain: || Box::new(ForgetsAddresses),
    },
    Mutant {
        name: "the allocator does not look at other networks",
        noticed_by: &["unique"],
        brain: || Box::new(OverlapsSubnets),
    },
    Mutant {
        name: "the store lets reports move tasks back",
        noticed_by: &["forward"],
        brain: || Box::new(AcceptsBackwards),
    },
    Mutant {
        name: "managers apply entries differently",
        noticed_by: &["agreement"],
        brain: || Box::new(AppliesByItself),
    },
    Mutant {
        name: "a new leader forgets the last entries",
        noticed_by: &["acknowledged", "agreement"],
        brain: || Box::new(ForgetsEntries),
    },
    Mutant {
        name: "the control loop speaks for nodes that are down",
        noticed_by: &["one_owner"],
        brain: || Box::new(SpeaksForNodes),
    },
    Mutant {
        name: "tasks of nodes that are down are not replaced",
        noticed_by: &["converged", "ring"],
        brain: || Box::new(KeepsDeadNodes),
    },
    Mutant {
        name: "tasks that are to stop keep their share",
        noticed_by: &["ring"],
        brain: || Box::new(KeepsShares),
    },
    Mutant {
        name: "tasks are withdrawn before the nodes have let go",
        noticed_by: &["let_go"],
        brain: || Box::new(DoesNotWait),
    },
    Mutant {
        name: "endpoints are told under the gateway's neighbour's address",
        noticed_by: &["unique"],
        brain: || Box::new(MixesAddresses),
    },
    Mutant {
        name: "the control loop writes down again what is written",
        noticed_by: &["idle"],
        brain: || Box::new(RepeatsItself),
    },
];

struct IgnoresDrain;

impl Brain for IgnoresDrain {
    fn tick(&self, state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
        let mut plan = shoal_control::tick(state, liveness, now, rng);
        let drained = state.nodes().values().find(|n| n.spec.availability == Availability::Drain);
        if let Some(drained) = drained {
            for change in &mut plan.changes {
                if let Change::AssignTask { node, .. } = change {
                    node.clone_from(&drained.id);
                }
            }
        }
        plan
    }
}

struct ForgetsAddresses;

impl Brain for ForgetsAddresses {
    fn tick(&self, state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
        let mut plan = shoal_control::tick(state, liveness, now, rng);
        for change in &mut plan.changes {
            let Change::AllocateTask { attachments, .. } = change else { continue };
            for attachment in attachments {
                let node = state.nodes().values().find_map(|n| n.attachments.get(&attachment.network));
                if let Some(own) = node {
                    attachment.addresses.clone_from(&own.addresses);
                }
            }
        }
        plan
    }
}

struct OverlapsSubnets;

impl Brain for OverlapsSubnets {
    fn tick(&self, state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
        let mut plan = shoal_control::tick(state, liveness, now, rng);
        let taken = state.networks().values().find_map(|network| network.subnets.first());
        for change in &mut plan.changes {
            let Change::AllocateNetwork { id, subnets, .. } = change else { continue };
            let new = state.networks().get(id).is_some_and(|network| !network.is_allocated());
            if let (true, Some(taken)) = (new, taken) {
                *subnets = vec![taken.clone()];
            }
        }
        plan
    }
}

struct AcceptsBackwards;

impl Brain for AcceptsBackwards {
    fn apply(&self, _: usize, state: &mut State, index: u64, entry: &Entry) -> Vec<Result<(), Rejected>> {
        let mut entry = entry.clone();
        for batch in &mut entry.batches {
            let changes = std::mem::take(&mut batch.changes);
            batch.changes = changes.into_iter().flat_map(|change| with_backward(state, change)).collect();
        }
        apply(state, index, &entry)
    }
}

/// A report that the store would ignore, as it would be without the check: the task is written anew.
fn with_backward(state: &State, change: Change) -> Vec<Change> {
    let Change::ReportTasks { reports, .. } = &change else { return vec![change] };
    let late = |report: &&TaskReport| {
        state.tasks().get(&report.id).is_some_and(|task| report.status.state < task.status.state)
    };
    let written = reports.iter().filter(late).filter_map(|report| {
        let mut task = Task::clone(state.tasks().get(&report.id)?);
        task.status = report.status.clone();
        let key = task.id.clone().into();
        Some([Change::Remove { key, if_version: None }, Change::Create(Object::from(Arc::new(task)))])
    });
    let written: Vec<Change> = written.flatten().collect();
    std::iter::once(change).chain(written).collect()
}

struct AppliesByItself;

impl Brain for AppliesByItself {
    fn apply(
        &self,
        manager: usize,
        state: &mut State,
        index: u64,
        entry: &Entry,
    ) -> Vec<Result<(), Rejected>> {
        let mut entry = entry.clone();
        for batch in &mut entry.batches {
            batch.now.0 += i64::try_from(manager).unwrap_or(0);
        }
        apply(state, index, &entry)
    }
}

struct ForgetsEntries;

impl Brain for ForgetsEntries {
    fn recover(&self, committed: usize) -> usize {
        committed.saturating_sub(3)
    }
}

struct SpeaksForNodes;

impl Brain for SpeaksForNodes {
    fn tick(&self, state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
        let mut plan = shoal_control::tick(state, liveness, now, rng);
        let down = |node: &&Arc<shoal_model::Node>| node.status.state == shoal_model::node::NodeState::Down;
        for node in state.nodes().values().filter(down) {
            let running = |task: &&Arc<Task>| task.status.state == TaskState::Running;
            let reports = state.tasks_of_node(&node.id).filter(running).map(|task| {
                let status = shoal_model::TaskStatus { state: TaskState::Failed, ..task.status.clone() };
                TaskReport { id: task.id.clone(), status }
            });
            let reports: Vec<_> = reports.collect();
            if !reports.is_empty() {
                plan.changes.push(Change::ReportTasks { owner: Owner::Agent, reports });
            }
        }
        plan
    }
}

struct KeepsDeadNodes;

impl Brain for KeepsDeadNodes {
    fn tick(&self, state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
        // Every node is heard all the time.
        let mut liveness = liveness.clone();
        for node in state.nodes().keys() {
            liveness.heard(node, now);
        }
        shoal_control::tick(state, &liveness, now, rng)
    }
}

struct KeepsShares;

impl Brain for KeepsShares {
    fn assign(&self, state: &State, liveness: &Liveness, node: &NodeId) -> Assignment {
        let mut assignment = shoal_control::assign(state, liveness, node);
        for network in assignment.networks.values_mut() {
            for task in network.services.values_mut().flat_map(|service| service.tasks.values_mut()) {
                task.weight = 1;
            }
        }
        assignment
    }
}

struct DoesNotWait;

impl Brain for DoesNotWait {
    fn withdraw(&self, liveness: &mut Liveness, state: &State, _: Timestamp) -> bool {
        let leaving = state.tasks().values().filter(|task| task.desired > TaskState::Complete);
        let leaving: Vec<_> = leaving.map(|task| task.id.clone()).collect();
        let before = liveness.withdrawn.len();
        liveness.withdrawn.extend(leaving);
        liveness.withdrawn.len() > before
    }
}

struct MixesAddresses;

impl Brain for MixesAddresses {
    fn assign(&self, state: &State, liveness: &Liveness, node: &NodeId) -> Assignment {
        let mut assignment = shoal_control::assign(state, liveness, node);
        for network in assignment.networks.values_mut() {
            let first = network.endpoints.values().next().map(|endpoint| endpoint.addresses.clone());
            if let (Some(first), Some(mut last)) = (first, network.endpoints.last_entry()) {
                last.get_mut().addresses = first;
            }
        }
        assignment
    }
}

struct RepeatsItself;

impl Brain for RepeatsItself {
    fn tick(&self, state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
        let mut plan = shoal_control::tick(state, liveness, now, rng);
        let nodes = state.nodes().values();
        plan.changes.extend(nodes.map(|node| Change::SetNodeState {
            id: node.id.clone(),
            state: node.status.state,
            message: node.status.message.clone(),
        }));
        plan
    }
}
