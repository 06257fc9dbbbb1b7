//! Clearing away: tasks of removed services, tasks that are to be removed and have stopped, history beyond what the
//! swarm keeps, and tasks that nobody will ever report on.

use crate::draft::Draft;
use crate::liveness::is_down;
use shoal_model::spec::RestartPolicy;
use shoal_model::task::Owner;
use shoal_model::{NodeId, Service, Task, TaskId, TaskState, Timestamp};
use shoal_store::{Change, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A node that has been down for so long is given up, and what ran on it (swarmkit `defaultNodeDownPeriod`).
const ORPHAN_AFTER: Duration = Duration::from_hours(24);

pub(crate) fn reap(draft: &mut Draft<'_>) {
    let (mut changes, mut due) = (Vec::new(), Vec::new());
    let state = draft.state();
    let keep = state.cluster().and_then(|c| c.spec.orchestration.task_history_retention_limit);
    for service_id in state.services_with_tasks() {
        let service = state.services().get(service_id);
        for task in state.tasks_of_service(service_id) {
            reap_task(state, draft.now(), task, service.is_some(), &mut changes, &mut due);
        }
        if let Some(service) = service {
            trim_history(state, service, keep, &mut changes);
        }
    }
    for at in due {
        draft.look_again(at);
    }
    for change in changes {
        draft.make(change);
    }
}

fn reap_task(
    state: &State,
    now: Timestamp,
    task: &Task,
    has_service: bool,
    changes: &mut Vec<Change>,
    due: &mut Vec<Timestamp>,
) {
    let unwanted = !has_service || task.desired == TaskState::Remove;
    let ended = task.status.state.is_terminal() || task.status.state < TaskState::Assigned;
    if unwanted && (ended || node_is_gone(state, task)) {
        changes.push(remove(&task.id));
        return;
    }
    if unwanted && task.desired < TaskState::Remove {
        changes.push(Change::SetDesired { id: task.id.clone(), to: TaskState::Remove });
    }
    if task.status.state.is_terminal() {
        return;
    }
    if task.desired > TaskState::Running && task.status.state < TaskState::Assigned {
        // No node has heard of it, so that no node will report its end.
        changes.push(end(task, TaskState::Shutdown, "shutdown before it was assigned"));
    } else if node_is_gone(state, task) {
        changes.push(end(task, TaskState::Orphaned, "its node was removed"));
    } else if let Some(since) = down_since(state, task) {
        let at = since.plus(ORPHAN_AFTER);
        if now >= at {
            changes.push(end(task, TaskState::Orphaned, "its node has been down for too long"));
        } else {
            due.push(at);
        }
    }
}

fn remove(id: &TaskId) -> Change {
    Change::Remove { key: id.clone().into(), if_version: None }
}

fn end(task: &Task, to: TaskState, message: &str) -> Change {
    Change::MoveTask {
        id: task.id.clone(),
        owner: Owner::Orchestrator,
        to,
        message: message.to_owned(),
        err: task.status.err.clone(),
    }
}

fn node_is_gone(state: &State, task: &Task) -> bool {
    task.status.state >= TaskState::Assigned
        && task.node.as_ref().is_some_and(|node| !state.nodes().contains_key(node))
}

fn down_since(state: &State, task: &Task) -> Option<Timestamp> {
    if task.status.state < TaskState::Assigned {
        return None;
    }
    let node = state.nodes().get(task.node.as_ref()?)?;
    is_down(node).then_some(node.status.since)
}

/// A slot keeps its newest tasks, running ones included; the oldest ended ones beyond that go.
fn trim_history(state: &State, service: &Service, keep: Option<i64>, changes: &mut Vec<Change>) {
    let Some(keep) = keep.and_then(|keep| usize::try_from(keep).ok()) else { return };
    let keep = keep.max(attempts_to_remember(service.spec.task_template.restart_policy.as_ref()));
    let mut slots: BTreeMap<(u64, Option<&NodeId>), Vec<&Arc<Task>>> = BTreeMap::new();
    for task in state.tasks_of_service(&service.id).filter(|task| task.desired < TaskState::Remove) {
        let node = if service.spec.is_global() { task.node.as_ref() } else { None };
        slots.entry((task.slot, node)).or_default().push(task);
    }
    for tasks in slots.values_mut().filter(|tasks| tasks.len() > keep) {
        tasks.sort_by_key(|task| (task.meta.created_at, &task.id));
        let surplus = tasks.len() - keep;
        let done = tasks.iter().filter(|task| is_history(task, service));
        changes.extend(done.take(surplus).map(|task| remove(&task.id)));
    }
}

/// What a job has completed counts for as long as the job runs.
fn is_history(task: &Task, service: &Service) -> bool {
    let iteration = service.job_iteration.map(|version| version.index);
    let counts =
        task.status.state == TaskState::Complete && iteration.is_some() && task.job_iteration == iteration;
    task.status.state.is_terminal() && task.desired > TaskState::Running && !counts
}

/// A bound on restarts can only be kept if the restarts are remembered.
fn attempts_to_remember(policy: Option<&RestartPolicy>) -> usize {
    let attempts = policy.and_then(|policy| policy.max_attempts).unwrap_or(0);
    if attempts == 0 { 0 } else { usize::try_from(attempts).map_or(usize::MAX, |n| n.saturating_add(1)) }
}
