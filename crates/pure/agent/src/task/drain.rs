//! How a task that serves leaves without loss: first no node gives it new connections any more, then those that it has
//! come to their end, and only then its container is told to stop.

use super::life;
use shoal_model::assignment::{Draining, TaskAssignment};
use shoal_model::{Assignment, Observed, TaskId, TaskState, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// A task that nobody declares withdrawn (no manager can be reached, or a node does not get on) goes on after this time.
const WITHDRAWAL_MAX: Duration = Duration::from_secs(5);
/// What was on its way when the last node let go arrives within this time.
const LATE: Duration = Duration::from_millis(100);
/// Live connections are counted this often.
const COUNT_AGAIN: Duration = Duration::from_millis(200);

/// What is remembered of the tasks that drain, brought up to date: tasks that were told to stop, since when, and since
/// when they are withdrawn. Connections are the shell's to count.
pub fn draining(
    known: &BTreeMap<TaskId, Draining>,
    assignment: &Assignment,
    now: Timestamp,
) -> BTreeMap<TaskId, Draining> {
    let leaving = assignment.tasks.values().filter(|task| life::told_to_stop(task));
    let follow = |task: &TaskAssignment| {
        let new = Draining { told_at: now, withdrawn_at: None, connections: 0 };
        let mut draining = known.get(&task.id).copied().unwrap_or(new);
        if task.withdrawn {
            draining.withdrawn_at.get_or_insert(now);
        }
        (task.id.clone(), draining)
    };
    leaving.map(follow).collect()
}

/// Whether anybody may be given the task's address: it was seen running, and its service is on a network of its. Of a
/// service that was removed nobody keeps anything.
fn may_be_known(task: &TaskAssignment, assignment: &Assignment) -> bool {
    let mut networks = task.attachments.iter().filter_map(|a| assignment.networks.get(&a.network));
    task.known == TaskState::Running && networks.any(|network| network.services.contains_key(&task.service))
}

/// Whether the container of a task that was told to stop may be told, too.
pub(super) fn is_over(
    task: &TaskAssignment,
    assignment: &Assignment,
    observed: &Observed,
    now: Timestamp,
) -> bool {
    let stopped = life::container(&task.id, observed).is_some_and(|c| c.stopping_since.is_some());
    if stopped || !may_be_known(task, assignment) {
        return true;
    }
    let Some(draining) = observed.draining.get(&task.id) else { return false };
    let released = released_at(draining);
    let quiet = draining.connections == 0 && now >= released.plus(LATE);
    now >= released && (quiet || now >= draining.told_at.plus(life::stop_grace(Some(task))))
}

/// When nobody gives the task new connections any more: as was heard, or in the end as is assumed.
fn released_at(draining: &Draining) -> Timestamp {
    draining.withdrawn_at.unwrap_or(draining.told_at.plus(WITHDRAWAL_MAX))
}

/// When [`is_over`] may answer otherwise than now by the clock alone, or by connections that end.
pub(crate) fn next_look(
    task: &TaskAssignment,
    assignment: &Assignment,
    observed: &Observed,
    now: Timestamp,
) -> Option<Timestamp> {
    let draining = observed.draining.get(&task.id)?;
    if is_over(task, assignment, observed, now) {
        return None;
    }
    let released = released_at(draining);
    if now < released {
        return Some(released);
    }
    let count = now.plus(COUNT_AGAIN).min(draining.told_at.plus(life::stop_grace(Some(task))));
    Some(if draining.connections == 0 { released.plus(LATE) } else { count })
}

/// Connections that were left when the container of a task was told to stop.
pub(super) fn outlived(task: &TaskId, observed: &Observed) -> u32 {
    let stopped = life::container(task, observed).is_some_and(|c| c.stopping_since.is_some());
    observed.draining.get(task).filter(|_| stopped).map_or(0, |draining| draining.connections)
}
