//! Services with a number of interchangeable tasks.

use super::Budget;
use super::new_task::{make_task, order_for};
use super::slot::{SlotKey, slots};
use super::tend::{Tended, tend};
use super::update::update;
use crate::draft::Draft;
use shoal_model::{NodeId, Service, TaskState, Timestamp};
use shoal_store::Change;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn reconcile(draft: &mut Draft<'_>, service: &Service, budget: &mut Budget) {
    let replicas = usize::try_from(service.spec.replicas().unwrap_or(1)).unwrap_or(usize::MAX);
    let slots = slots(service, draft.state().tasks_of_service(&service.id));
    let mut tended: Vec<Tended> =
        slots.into_iter().map(|(key, slot)| tend(draft, service, key, slot)).collect();
    let occupied = tended.iter().filter(|slot| slot.occupied()).count();
    if occupied < replicas {
        fill(draft, service, &mut tended, replicas - occupied, budget);
    }
    let victims = if occupied > replicas { victims(&tended, occupied - replicas) } else { BTreeSet::new() };
    for slot in &tended {
        // Slots that nothing runs in, nor ever will, go with their history.
        if victims.contains(&slot.key) || !slot.occupied() {
            for task in &slot.slot.tasks {
                draft.make(Change::SetDesired { id: task.id.clone(), to: TaskState::Remove });
            }
        }
    }
    tended.retain(|slot| slot.occupied() && !victims.contains(&slot.key));
    update(draft, service, &tended);
}

/// Makes tasks in the lowest slots that are free.
fn fill(
    draft: &mut Draft<'_>,
    service: &Service,
    tended: &mut [Tended],
    mut wanting: usize,
    budget: &mut Budget,
) {
    let mut known: BTreeMap<SlotKey, &mut Tended> =
        tended.iter_mut().map(|slot| (slot.key.clone(), slot)).collect();
    for number in 1.. {
        if wanting == 0 || !budget.take(draft) {
            return;
        }
        let key = SlotKey::Number(number);
        let slot = known.get_mut(&key);
        if slot.as_ref().is_some_and(|slot| slot.occupied()) {
            budget.give_back();
            continue;
        }
        let order = order_for(draft.state(), slot.as_ref().map(|slot| &slot.slot));
        if make_task(draft, service, &key, order, Timestamp::default()).is_none() {
            return;
        }
        wanting -= 1;
        if let Some(slot) = slot {
            slot.refilled = true;
            slot.touched = true;
        }
    }
}

/// The slots to give up: first those where nothing runs, then those on the nodes that hold most; the highest first.
fn victims(tended: &[Tended], mut count: usize) -> BTreeSet<SlotKey> {
    let mut victims = BTreeSet::new();
    let mut on_node: BTreeMap<&NodeId, Vec<&SlotKey>> = BTreeMap::new();
    for slot in tended.iter().filter(|slot| slot.occupied()).rev() {
        let running = slot.staying.iter().find(|task| task.status.state == TaskState::Running);
        match running.and_then(|task| task.node.as_ref()) {
            Some(node) => on_node.entry(node).or_default().push(&slot.key),
            None if count > 0 => {
                victims.insert(slot.key.clone());
                count -= 1;
            }
            None => {}
        }
    }
    for _ in 0..count {
        let fullest = on_node.values_mut().max_by_key(|slots| (slots.len(), slots.first().copied()));
        let Some(slots) = fullest else { break };
        if !slots.is_empty() {
            victims.insert(slots.remove(0).clone());
        }
    }
    victims
}
