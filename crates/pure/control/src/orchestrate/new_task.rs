//! Making tasks.

use super::dirty::template;
use super::slot::{Slot, SlotKey};
use crate::draft::Draft;
use crate::liveness::is_down;
use shoal_model::{Meta, Service, Task, TaskId, TaskState, TaskStatus, Timestamp};
use shoal_store::{Change, Object, State};
use std::sync::Arc;
use std::time::Duration;

/// A new task waits at most so long for its predecessor to stop (swarmkit `OldTaskTimeout`).
const PREDECESSOR_PATIENCE: Duration = Duration::from_mins(1);

/// Whether a new task waits for older ones of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is prepared, and starts when they have stopped.
    AfterOld,
    /// It starts at once.
    AtOnce,
}

/// Makes a task in a slot.
pub(super) fn make_task(
    draft: &mut Draft<'_>,
    service: &Service,
    key: &SlotKey,
    order: Order,
    start_after: Timestamp,
) -> Option<TaskId> {
    let id = draft.new_task_id();
    let now = draft.now();
    let (slot, node) = match key {
        SlotKey::Number(number) => (*number, None),
        SlotKey::Node(node) => (0, Some(node.clone())),
    };
    let at_once = order == Order::AtOnce && start_after <= now;
    if start_after > now {
        draft.look_again(start_after);
    }
    let task = Task {
        id: id.clone(),
        meta: Meta::created(0, now),
        service: service.id.clone(),
        service_name: service.spec.name.clone(),
        slot,
        node,
        spec: template(service).into_owned(),
        spec_version: service.spec_version,
        desired: if at_once { TaskState::Running } else { TaskState::Ready },
        status: TaskStatus { timestamp: now, message: "created".to_owned(), ..TaskStatus::default() },
        attachments: Vec::new(),
        host_ports: Vec::new(),
        job_iteration: service.job_iteration.map(|version| version.index),
        start_after: if start_after > now { start_after } else { Timestamp::default() },
        running_since: Timestamp::default(),
    };
    draft.make(Change::Create(Object::from(task))).then_some(id)
}

/// The order for a slot: wait if anything older may still run.
pub(super) fn order_for(state: &State, slot: Option<&Slot>) -> Order {
    let waits = slot.is_some_and(|slot| slot.tasks.iter().any(|task| may_still_run(state, task)));
    if waits { Order::AfterOld } else { Order::AtOnce }
}

/// Whether a task's container may still be there. Of a node that is down nobody knows, and nobody waits for it.
fn may_still_run(state: &State, task: &Task) -> bool {
    let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
    let assigned = task.status.state >= TaskState::Assigned && !task.status.state.is_terminal();
    assigned && node.is_some_and(|node| !is_down(node))
}

/// Lets prepared tasks start when their delay is over and their predecessors have stopped. `staying` are the tasks of
/// the slot that remain.
pub(super) fn promote(draft: &mut Draft<'_>, slot: &Slot, staying: &[Arc<Task>]) {
    for task in staying.iter().filter(|task| task.desired < TaskState::Running) {
        let now = draft.now();
        let leaving = slot.tasks.iter().filter(|other| staying.iter().all(|stays| stays.id != other.id));
        let waits = leaving.into_iter().any(|other| may_still_run(draft.state(), other));
        let patience_ends = task.meta.created_at.plus(PREDECESSOR_PATIENCE);
        if now < task.start_after {
            draft.look_again(task.start_after);
        } else if waits && now < patience_ends {
            draft.look_again(patience_ends);
        } else {
            draft.make(Change::SetDesired { id: task.id.clone(), to: TaskState::Running });
        }
    }
}
