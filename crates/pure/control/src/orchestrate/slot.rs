//! Slots: what gives the tasks of a service their identity. A replicated service has numbered slots, a global one a slot
//! for each node; in each slot tasks follow one another, and one at a time should run.

use shoal_model::{NodeId, Service, Task, TaskState};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotKey {
    Number(u64),
    Node(NodeId),
}

/// The tasks of one slot, oldest first, without those that are to be removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    pub(super) tasks: Vec<Arc<Task>>,
}

impl Slot {
    /// Tasks that are meant to run, now or soon.
    pub(super) fn active(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.iter().filter(|task| is_active(task))
    }

    pub(super) fn newest(&self) -> Option<&Arc<Task>> {
        self.tasks.last()
    }
}

/// Whether a task is meant to run, now or soon.
pub(super) fn is_active(task: &Task) -> bool {
    task.desired <= TaskState::Running
}

/// The slots of a service. `tasks` are its tasks in any order.
pub(super) fn slots<'a>(
    service: &Service,
    tasks: impl Iterator<Item = &'a Arc<Task>>,
) -> BTreeMap<SlotKey, Slot> {
    let mut slots: BTreeMap<SlotKey, Slot> = BTreeMap::new();
    for task in tasks.filter(|task| task.desired < TaskState::Remove) {
        let key = match (&task.node, service.spec.is_global()) {
            (Some(node), true) => SlotKey::Node(node.clone()),
            _ => SlotKey::Number(task.slot),
        };
        slots.entry(key).or_default().tasks.push(Arc::clone(task));
    }
    for slot in slots.values_mut() {
        slot.tasks.sort_by(|a, b| (a.meta.created_at, &a.id).cmp(&(b.meta.created_at, &b.id)));
    }
    slots
}
