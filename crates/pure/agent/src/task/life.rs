//! Where a task stands: the questions that every decision about it asks.

use shoal_model::assignment::{ContainerState, Health, ObservedContainer, TaskAssignment};
use shoal_model::{Observed, TaskId, TaskState, Timestamp};
use std::time::Duration;

/// Docker's grace period where the spec has none.
const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);

/// Whether the managers want the task to be there: prepared, running, or (a job) running to its end.
pub(crate) fn is_wanted(task: &TaskAssignment) -> bool {
    !told_to_stop(task) && !task.known.is_terminal()
}

/// Whether the managers want it to end. `Complete` as a desired state means to run to the end.
pub(crate) fn told_to_stop(task: &TaskAssignment) -> bool {
    task.desired > TaskState::Complete
}

/// Whether its container may be started by now.
pub(crate) fn may_start(task: &TaskAssignment, now: Timestamp) -> bool {
    task.desired >= TaskState::Running && now >= task.start_after
}

/// Its container, if there is one.
pub(crate) fn container<'o>(task: &TaskId, observed: &'o Observed) -> Option<&'o ObservedContainer> {
    observed.containers.get(task)
}

/// Whether its container runs.
pub(crate) fn is_running(task: &TaskId, observed: &Observed) -> bool {
    container(task, observed).is_some_and(|c| matches!(c.state, ContainerState::Running { .. }))
}

/// Whether the container of a task that the managers know to run can still serve: it runs, nobody told it to stop, and its
/// probes do not fail. Probes that say nothing yet are those of a daemon that was restarted: the task was well before.
pub(crate) fn is_serving(task: &TaskId, observed: &Observed) -> bool {
    let healthy = |c: &ObservedContainer| c.health != Some(Health::Unhealthy);
    is_running(task, observed)
        && container(task, observed).is_some_and(|c| c.stopping_since.is_none() && healthy(c))
}

/// Whether the container of a task that once started is gone without a trace.
pub(crate) fn is_lost(task: &TaskAssignment, observed: &Observed) -> bool {
    task.known >= TaskState::Starting && container(&task.id, observed).is_none()
}

/// Whether its last step failed and trying again cannot help.
pub(crate) fn has_failed_for_good(task: &TaskId, observed: &Observed) -> bool {
    observed.failures.get(task).is_some_and(|failure| !failure.retry)
}

/// Whether its namespace has to be there: while it is wanted, or its container runs.
pub(crate) fn needs_sandbox(task: &TaskAssignment, observed: &Observed) -> bool {
    let wanted = is_wanted(task) && !has_failed_for_good(&task.id, observed);
    match container(&task.id, observed).map(|c| &c.state) {
        Some(ContainerState::Running { .. }) => true,
        Some(ContainerState::Created) => wanted,
        Some(ContainerState::Exited { .. }) => false,
        None => wanted && !is_lost(task, observed),
    }
}

/// How long the task may take to stop. A container that no assignment names has Docker's default.
pub(crate) fn stop_grace(task: Option<&TaskAssignment>) -> Duration {
    let asked = task.and_then(|t| t.spec.container_spec.as_ref()?.stop_grace_period);
    asked.and_then(|nanos| u64::try_from(nanos).ok()).map_or(DEFAULT_STOP_GRACE, Duration::from_nanos)
}

/// When the grace period of a container that was told to stop is over.
pub(crate) fn grace_over(task: Option<&TaskAssignment>, container: &ObservedContainer) -> Option<Timestamp> {
    container.stopping_since.map(|since| since.plus(stop_grace(task)))
}
