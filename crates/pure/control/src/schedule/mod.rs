//! Which node each task runs on.

mod filter;
mod node_set;
mod reasons;
mod spread;

use crate::draft::Draft;
use crate::plan::Report;
use node_set::NodeSet;
use reasons::Reasons;
use shoal_model::spec::TaskSpec;
use shoal_model::task::Owner;
use shoal_model::{NodeId, ServiceId, Task, TaskState, Version};
use shoal_store::Change;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tasks that ask for the same: what one may run on, all may.
struct Group {
    tasks: Vec<Arc<Task>>,
}

pub(crate) fn schedule(draft: &mut Draft<'_>) {
    let groups = waiting(draft);
    if groups.is_empty() {
        return;
    }
    let mut nodes = NodeSet::gather(draft.state(), draft.now());
    for group in groups.values() {
        schedule_group(draft, &mut nodes, group);
    }
}

fn waiting(draft: &Draft<'_>) -> BTreeMap<(ServiceId, Version), Group> {
    let mut groups: BTreeMap<(ServiceId, Version), Group> = BTreeMap::new();
    let wanted =
        |task: &&Arc<Task>| task.status.state == TaskState::Pending && task.desired <= TaskState::Running;
    for task in draft.state().tasks().values().filter(wanted) {
        let key = (task.service.clone(), task.spec_version);
        groups.entry(key).or_insert_with(|| Group { tasks: Vec::new() }).tasks.push(Arc::clone(task));
    }
    for group in groups.values_mut() {
        group.tasks.sort_by(|a, b| (a.slot, &a.id).cmp(&(b.slot, &b.id)));
    }
    groups
}

fn schedule_group(draft: &mut Draft<'_>, nodes: &mut NodeSet, group: &Group) {
    let Some(spec) = group.tasks.first().map(|task| task.spec.clone()) else { return };
    let standing = filter::standing(&spec, nodes);
    for task in &group.tasks {
        let chosen = match &task.node {
            Some(node) => check_preassigned(nodes, &standing, task, node),
            None => choose(draft, nodes, &standing, &spec, task),
        };
        match chosen {
            Ok((node, message)) => assign(draft, nodes, task, node, message),
            Err(reasons) => explain(draft, task, &reasons.to_string()),
        }
    }
}

type Chosen = Result<(NodeId, &'static str), Reasons>;

fn check_preassigned(nodes: &NodeSet, standing: &filter::Standing, task: &Task, node: &NodeId) -> Chosen {
    match filter::check(nodes, standing, task, node) {
        Ok(()) => Ok((node.clone(), "scheduler confirmed task can run on preassigned node")),
        Err(reason) => Err(Reasons::from_iter([reason])),
    }
}

fn choose(
    draft: &mut Draft<'_>,
    nodes: &NodeSet,
    standing: &filter::Standing,
    spec: &TaskSpec,
    task: &Task,
) -> Chosen {
    let mut reasons = Reasons::default();
    let mut fit = Vec::new();
    for node in nodes.ids() {
        match filter::check(nodes, standing, task, node) {
            Ok(()) => fit.push(node),
            Err(reason) => reasons.add(reason),
        }
    }
    match spread::pick(nodes, spec, task, &fit, draft.rng()) {
        Some(node) => Ok((node.clone(), "scheduler assigned task to node")),
        None => Err(reasons),
    }
}

fn assign(draft: &mut Draft<'_>, nodes: &mut NodeSet, task: &Task, node: NodeId, message: &str) {
    nodes.add(&node, task);
    draft.make(Change::AssignTask { id: task.id.clone(), node, message: message.to_owned() });
}

fn explain(draft: &mut Draft<'_>, task: &Task, reason: &str) {
    if task.status.err != reason {
        draft.make(Change::MoveTask {
            id: task.id.clone(),
            owner: Owner::Scheduler,
            to: TaskState::Pending,
            message: task.status.message.clone(),
            err: reason.to_owned(),
        });
    }
    draft.report(Report::TaskWaits { task: task.id.clone(), reason: reason.to_owned() });
}
