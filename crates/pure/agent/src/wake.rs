//! When to look again although nothing happened.

use crate::retry;
use crate::task::{drain, life};
use shoal_model::assignment::ContainerState;
use shoal_model::{Assignment, Observed, Timestamp};

/// The next time at which [`crate::plan`] or [`crate::reports`] may answer otherwise than now by the clock alone: a
/// task's start time, the end of a pause after a failure, the end of a grace period, the next count of the connections
/// of a task that drains. `None` if only an event can
/// change anything.
pub fn next_wake(assignment: &Assignment, observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    let wanted = || assignment.tasks.values().filter(|task| life::is_wanted(task));
    let starts = wanted().filter(|task| !life::is_running(&task.id, observed)).map(|task| task.start_after);
    let retries = wanted().filter_map(|task| retry::not_before(observed.failures.get(&task.id)?));
    let running =
        observed.containers.iter().filter(|(_, c)| matches!(c.state, ContainerState::Running { .. }));
    let stops = running.filter_map(|(id, c)| life::grace_over(assignment.tasks.get(id), c));
    let leaving = assignment.tasks.values().filter(|task| life::is_running(&task.id, observed));
    let drained = leaving.filter_map(|task| drain::next_look(task, assignment, observed, now));
    starts.chain(retries).chain(stops).chain(drained).filter(|time| *time > now).min()
}
