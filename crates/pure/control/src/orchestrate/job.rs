//! Services whose tasks are meant to end. Each update of a job starts a new iteration; tasks of older ones go.

use super::Budget;
use super::global::fit_nodes;
use super::new_task::{make_task, order_for};
use super::slot::{Slot, SlotKey, slots};
use super::tend::{Tended, tend};
use crate::draft::Draft;
use shoal_model::{Service, TaskState, Timestamp};
use shoal_store::Change;
use std::collections::BTreeMap;

pub(super) fn reconcile(draft: &mut Draft<'_>, service: &Service, budget: &mut Budget) {
    let iteration = service.job_iteration.map(|version| version.index);
    let tasks = draft.state().tasks_of_service(&service.id);
    let (current, older): (Vec<_>, Vec<_>) = tasks.cloned().partition(|task| task.job_iteration == iteration);
    for task in older {
        draft.make(Change::SetDesired { id: task.id.clone(), to: TaskState::Remove });
    }
    let slots = slots(service, current.iter());
    match &service.spec.mode.replicated_job {
        Some(_) => replicated(draft, service, slots, budget),
        None => global(draft, service, slots, budget),
    }
}

fn has_completed(slot: &Slot) -> bool {
    slot.tasks.iter().any(|task| task.status.state == TaskState::Complete)
}

fn replicated(draft: &mut Draft<'_>, service: &Service, slots: BTreeMap<SlotKey, Slot>, budget: &mut Budget) {
    let job = service.spec.mode.replicated_job.clone().unwrap_or_default();
    let at_once = job.max_concurrent.unwrap_or(1);
    let total = job.total_completions.unwrap_or(at_once);
    let at_once = if at_once == 0 { total } else { at_once };
    let tended = tend_open(draft, service, slots);
    let busy = tended.values().filter(|slot| slot.as_ref().is_some_and(|s| !s.finished && s.occupied()));
    let mut room = at_once.saturating_sub(u64::try_from(busy.count()).unwrap_or(u64::MAX));
    for number in 0..total {
        let key = SlotKey::Number(number);
        let slot = tended.get(&key);
        let taken = slot.is_some_and(|slot| slot.as_ref().is_none_or(Tended::occupied));
        if taken {
            continue;
        }
        if room == 0 || !budget.take(draft) {
            return;
        }
        let tasks = slot.and_then(Option::as_ref).map(|slot| &slot.slot);
        let order = order_for(draft.state(), tasks);
        make_task(draft, service, &key, order, Timestamp::default());
        room -= 1;
    }
}

fn global(draft: &mut Draft<'_>, service: &Service, slots: BTreeMap<SlotKey, Slot>, budget: &mut Budget) {
    let tended = tend_open(draft, service, slots);
    for node in fit_nodes(draft, service) {
        let key = SlotKey::Node(node);
        let slot = tended.get(&key);
        let taken = slot.is_some_and(|slot| slot.as_ref().is_none_or(|s| s.occupied() || s.touched));
        if taken {
            continue;
        }
        if !budget.take(draft) {
            return;
        }
        let order = order_for(draft.state(), slot.and_then(Option::as_ref).map(|slot| &slot.slot));
        make_task(draft, service, &key, order, Timestamp::default());
    }
}

/// Tends the slots that have not completed; those that have are `None`.
fn tend_open(
    draft: &mut Draft<'_>,
    service: &Service,
    slots: BTreeMap<SlotKey, Slot>,
) -> BTreeMap<SlotKey, Option<Tended>> {
    let tended = slots.into_iter().map(|(key, slot)| {
        let open = !has_completed(&slot);
        (key.clone(), open.then(|| tend(draft, service, key, slot)))
    });
    tended.collect()
}
