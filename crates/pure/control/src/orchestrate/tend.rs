//! What every slot needs, whatever kind of service it is of: tasks that ended or must leave their node are replaced, and
//! one task remains where there are several.

use super::dirty::is_up_to_date;
use super::new_task::{Order, make_task, order_for, promote};
use super::restart::{start_after, wants_another};
use super::slot::{Slot, SlotKey};
use crate::draft::Draft;
use crate::placement::must_leave;
use crate::plan::{Leaving, Report};
use shoal_model::spec::{UpdateConfig, UpdateOrder};
use shoal_model::{Service, Task, TaskState, Timestamp};
use shoal_store::Change;
use std::sync::Arc;

/// How a slot stands after it has been tended.
#[derive(Debug, Clone)]
pub(super) struct Tended {
    pub(super) key: SlotKey,
    /// All tasks of the slot as they were before.
    pub(super) slot: Slot,
    /// Tasks that run or are about to, and stay.
    pub(super) staying: Vec<Arc<Task>>,
    /// Whether the slot was touched in this pass; it is then left alone until the next.
    pub(super) touched: bool,
    /// Whether a task has been made in this pass.
    pub(super) refilled: bool,
    /// Whether its last task has ended and is not to be replaced.
    pub(super) finished: bool,
}

impl Tended {
    /// Whether the slot counts: something runs in it, will, or has for good.
    pub(super) fn occupied(&self) -> bool {
        self.refilled || self.finished || !self.staying.is_empty()
    }
}

pub(super) fn tend(draft: &mut Draft<'_>, service: &Service, key: SlotKey, slot: Slot) -> Tended {
    let mut tended =
        Tended { key, slot, staying: Vec::new(), touched: false, refilled: false, finished: false };
    let mut leaving = Vec::new();
    for task in tended.slot.active() {
        let why = if task.status.state.is_terminal() {
            Some(Leaving::Ended)
        } else {
            must_leave(draft.state(), task)
        };
        match why {
            Some(why) => leaving.push((Arc::clone(task), why)),
            None => tended.staying.push(Arc::clone(task)),
        }
    }
    for (task, why) in leaving {
        replace(draft, service, &mut tended, &task, why);
    }
    if tended.staying.is_empty() && !tended.refilled {
        let newest = tended.slot.newest();
        tended.finished = newest.is_some_and(|task| !wants_another(service, &tended.slot, task));
    }
    settle(draft, service, &mut tended);
    promote(draft, &tended.slot, &tended.staying);
    tended
}

fn replace(draft: &mut Draft<'_>, service: &Service, tended: &mut Tended, task: &Arc<Task>, why: Leaving) {
    draft.make(Change::SetDesired { id: task.id.clone(), to: TaskState::Shutdown });
    tended.touched = true;
    let stale = !is_up_to_date(draft.state(), service, task);
    let relieved = tended.staying.iter().any(|other| stale || is_up_to_date(draft.state(), service, other));
    // The node of a global task cannot be chosen anew: when the node is fit again, it is given a task again.
    let elsewhere = why == Leaving::Ended || !service.spec.is_global();
    let mut replaced_by = None;
    if elsewhere && !relieved && !tended.refilled && wants_another(service, &tended.slot, task) {
        let (order, after) = match why {
            Leaving::Ended => (order_without(draft, tended, task), start_after(task)),
            _ => (order_for(draft.state(), Some(&tended.slot)), Timestamp::default()),
        };
        replaced_by = make_task(draft, service, &tended.key, order, after);
        tended.refilled = replaced_by.is_some();
    }
    let (task, service) = (task.id.clone(), service.id.clone());
    draft.report(Report::TaskLeaves { task, service, why, replaced_by });
}

/// A replacement waits for stopped predecessors, but not for a task of the old spec that an update keeps running beside.
fn order_without(draft: &Draft<'_>, tended: &Tended, ended: &Task) -> Order {
    let kept = |task: &Arc<Task>| tended.staying.iter().any(|staying| staying.id == task.id);
    let others = tended.slot.tasks.iter().filter(|task| task.id != ended.id && !kept(task));
    order_for(draft.state(), Some(&Slot { tasks: others.cloned().collect() }))
}

/// One task of a slot is enough. Of several that are what the service asks for, the one that got furthest stays. Tasks
/// of an older spec go when a new one runs, or at once where the old stops first.
fn settle(draft: &mut Draft<'_>, service: &Service, tended: &mut Tended) {
    if tended.staying.len() < 2 {
        return;
    }
    let staying = std::mem::take(&mut tended.staying);
    let (fresh, stale): (Vec<_>, Vec<_>) =
        staying.into_iter().partition(|task| is_up_to_date(draft.state(), service, task));
    let (fresh, mut surplus) = keep_best(fresh);
    let (stale, more) = keep_best(stale);
    surplus.extend(more);
    let runs = fresh.as_ref().is_some_and(|task| task.status.state == TaskState::Running);
    let order = update_config(service).order;
    match (fresh, stale) {
        (Some(fresh), Some(stale)) => {
            tended.staying.push(fresh);
            if runs || order == UpdateOrder::StopFirst {
                surplus.push(stale);
            } else {
                tended.staying.push(stale);
            }
        }
        (fresh, stale) => tended.staying.extend(fresh.into_iter().chain(stale)),
    }
    for task in surplus {
        tended.touched = true;
        draft.make(Change::SetDesired { id: task.id.clone(), to: TaskState::Shutdown });
    }
}

fn keep_best(mut tasks: Vec<Arc<Task>>) -> (Option<Arc<Task>>, Vec<Arc<Task>>) {
    let best = tasks.iter().enumerate().max_by_key(|(nth, task)| {
        // Of equals the oldest; tasks come in order of age.
        (task.status.state, std::cmp::Reverse(*nth))
    });
    let Some((best, _)) = best else { return (None, tasks) };
    (Some(tasks.remove(best)), tasks)
}

/// The parameters of the update or rollback that a service is in.
pub(super) fn update_config(service: &Service) -> UpdateConfig {
    use shoal_model::service::UpdateState::{RollbackPaused, RollbackStarted};
    let state = service.update_status.as_ref().map(|status| status.state);
    let config = if matches!(state, Some(RollbackStarted | RollbackPaused)) {
        &service.spec.rollback_config
    } else {
        &service.spec.update_config
    };
    config.clone().unwrap_or_default()
}
