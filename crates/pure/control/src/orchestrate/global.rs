//! Services with one task on every node that is fit for it.

use super::Budget;
use super::new_task::{make_task, order_for};
use super::slot::{SlotKey, slots};
use super::tend::{Tended, tend};
use super::update::update;
use crate::draft::Draft;
use crate::placement::satisfies_constraints;
use shoal_model::node::{Availability, NodeState};
use shoal_model::{Node, NodeId, Service, Timestamp};

pub(super) fn reconcile(draft: &mut Draft<'_>, service: &Service, budget: &mut Budget) {
    let slots = slots(service, draft.state().tasks_of_service(&service.id));
    let mut tended: Vec<Tended> =
        slots.into_iter().map(|(key, slot)| tend(draft, service, key, slot)).collect();
    for node in fit_nodes(draft, service) {
        let known = tended.iter_mut().find(|slot| slot.key == SlotKey::Node(node.clone()));
        if known.as_ref().is_some_and(|slot| slot.occupied() || slot.touched) {
            continue;
        }
        if !budget.take(draft) {
            break;
        }
        fill(draft, service, node, known);
    }
    tended.retain(Tended::occupied);
    update(draft, service, &tended);
}

fn fill(draft: &mut Draft<'_>, service: &Service, node: NodeId, known: Option<&mut Tended>) {
    let order = order_for(draft.state(), known.as_ref().map(|slot| &slot.slot));
    let made = make_task(draft, service, &SlotKey::Node(node), order, Timestamp::default());
    if let (Some(slot), Some(_)) = (known, made) {
        slot.refilled = true;
        slot.touched = true;
    }
}

/// Nodes that take tasks and meet the constraints.
pub(super) fn fit_nodes(draft: &Draft<'_>, service: &Service) -> Vec<NodeId> {
    let template = &service.spec.task_template;
    let nodes = draft.state().nodes().values();
    let fit = nodes.filter(|node| takes_tasks(node) && satisfies_constraints(template, node));
    fit.map(|node| node.id.clone()).collect()
}

pub(super) fn takes_tasks(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}
