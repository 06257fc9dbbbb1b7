//! What the managers are told of the tasks: the observed state, which only moves forward.

use super::plan::is_ready;
use super::{drain, life};
use crate::diff::outstanding;
use crate::names;
use shoal_model::assignment::{
    ContainerState, Health, ImageState, ObservedContainer, StepFailure, TaskAssignment,
};
use shoal_model::netns::Namespaces;
use shoal_model::task::{ContainerStatus, Owner, may_move};
use shoal_model::{Assignment, Observed, TaskReport, TaskState, TaskStatus, Timestamp};

/// Docker's words for the end of a container whose probes failed.
const UNHEALTHY: &str = "dockerexec: unhealthy container";

/// What the managers do not know yet: every task that is ahead of the state that they hold, and every task that stays
/// in its state because a step failed (its report is the same each time until the next attempt, so that a sender can
/// leave out what it sent before).
pub fn reports(
    assignment: &Assignment,
    observed: &Observed,
    declared: &Namespaces,
    namespaces: &Namespaces,
    now: Timestamp,
) -> Vec<TaskReport> {
    let unfinished = outstanding(declared, namespaces);
    let report = |task: &TaskAssignment| {
        if task.known.is_terminal() {
            return None;
        }
        let ready = is_ready(task, assignment, declared, &unfinished);
        let begun = namespaces.contains_key(&names::sandbox(&task.id));
        let status = status(task, observed, (begun, ready), now);
        let ahead = status.state > task.known && may_move(Owner::Agent, task.known, status.state);
        let stuck = status.state == task.known && !status.err.is_empty();
        (ahead || stuck).then(|| TaskReport { id: task.id.clone(), status })
    };
    assignment.tasks.values().filter_map(report).collect()
}

/// Where the task stands. `begun`: its namespace is there; `ready`: with all that is declared.
fn status(
    task: &TaskAssignment,
    observed: &Observed,
    (begun, ready): (bool, bool),
    now: Timestamp,
) -> TaskStatus {
    let failure = observed.failures.get(&task.id);
    let Some(container) = life::container(&task.id, observed) else {
        return without_container(task, observed, begun, now);
    };
    match &container.state {
        ContainerState::Created => created(task, container, failure, ready, now),
        ContainerState::Running { started_at, .. } => match container.health {
            Some(Health::Unhealthy) => ended(container, TaskState::Failed, UNHEALTHY.to_owned(), now),
            Some(Health::Starting) => with(TaskState::Starting, *started_at, Some(container)),
            Some(Health::Healthy) | None => with(TaskState::Running, *started_at, Some(container)),
        },
        ContainerState::Exited { code, finished_at, out_of_memory } => {
            let status = exited(task, container, (*code, *out_of_memory), *finished_at);
            tell_outlived(status, drain::outlived(&task.id, observed))
        }
    }
}

fn without_container(task: &TaskAssignment, observed: &Observed, begun: bool, now: Timestamp) -> TaskStatus {
    if life::told_to_stop(task) {
        return with(TaskState::Shutdown, now, None);
    }
    if life::is_lost(task, observed) {
        let err = format!("No such container: {}", names::container_id(&task.id));
        return TaskStatus { err, message: "started".to_owned(), ..with(TaskState::Failed, now, None) };
    }
    let image = observed.images.get(&task.spec.container().image);
    let begun = begun || matches!(image, Some(ImageState::Fetching | ImageState::Present));
    match observed.failures.get(&task.id) {
        Some(failure) => failed_step(failure, TaskState::Preparing, TaskState::Rejected, None),
        None if begun => with(TaskState::Preparing, now, None),
        None => with(TaskState::Accepted, now, None),
    }
}

fn created(
    task: &TaskAssignment,
    container: &ObservedContainer,
    failure: Option<&StepFailure>,
    ready: bool,
    now: Timestamp,
) -> TaskStatus {
    if life::told_to_stop(task) {
        return with(TaskState::Shutdown, now, Some(container));
    }
    // The container is there, so what failed was its start.
    match failure {
        Some(failure) => failed_step(failure, TaskState::Starting, TaskState::Failed, Some(container)),
        None if ready && life::may_start(task, now) => with(TaskState::Starting, now, Some(container)),
        None => with(TaskState::Ready, now, Some(container)),
    }
}

/// A step that failed: tried again in `meanwhile`, or the end of the task. As in swarmkit, the message stays that of the
/// step.
fn failed_step(
    failure: &StepFailure,
    meanwhile: TaskState,
    at_last: TaskState,
    container: Option<&ObservedContainer>,
) -> TaskStatus {
    let state = if failure.retry { meanwhile } else { at_last };
    TaskStatus {
        message: message(meanwhile).to_owned(),
        err: failure.message.clone(),
        ..with(state, failure.at, container)
    }
}

/// A task that was stopped tells of the connections that it cost.
fn tell_outlived(status: TaskStatus, connections: u32) -> TaskStatus {
    if connections == 0 || status.state != TaskState::Shutdown {
        return status;
    }
    let what = if connections == 1 { "connection" } else { "connections" };
    TaskStatus { err: format!("{connections} {what} outlived the grace period"), ..status }
}

fn exited(
    task: &TaskAssignment,
    container: &ObservedContainer,
    (code, out_of_memory): (i32, bool),
    at: Timestamp,
) -> TaskStatus {
    if container.health == Some(Health::Unhealthy) && !life::told_to_stop(task) {
        let err = if code == 0 { UNHEALTHY.to_owned() } else { non_zero(code, Some(UNHEALTHY)) };
        return ended(container, TaskState::Failed, err, at);
    }
    // What ended by itself without fault just before it was told to stop is complete. Anything else that ends while it
    // should is shut down, whatever its status: who told it may have forgotten (a restarted daemon).
    let by_itself = code == 0 && container.stopping_since.is_none();
    if life::told_to_stop(task) && !by_itself {
        return with(TaskState::Shutdown, at, Some(container));
    }
    if code == 0 {
        return with(TaskState::Complete, at, Some(container));
    }
    let cause = out_of_memory.then_some("out of memory");
    ended(container, TaskState::Failed, non_zero(code, cause), at)
}

/// Docker's words for a container that ended with another status than 0.
fn non_zero(code: i32, cause: Option<&str>) -> String {
    match cause {
        Some(cause) => format!("task: non-zero exit ({code}): {cause}"),
        None => format!("task: non-zero exit ({code})"),
    }
}

fn ended(container: &ObservedContainer, state: TaskState, err: String, at: Timestamp) -> TaskStatus {
    TaskStatus { err, message: message(TaskState::Running).to_owned(), ..with(state, at, Some(container)) }
}

fn with(state: TaskState, timestamp: Timestamp, container: Option<&ObservedContainer>) -> TaskStatus {
    TaskStatus {
        timestamp,
        state,
        message: message(state).to_owned(),
        err: String::new(),
        container: container.map(container_status),
    }
}

fn container_status(container: &ObservedContainer) -> ContainerStatus {
    let (pid, exit_code) = match container.state {
        ContainerState::Created => (0, 0),
        ContainerState::Running { pid, .. } => (pid, 0),
        ContainerState::Exited { code, .. } => (0, code),
    };
    ContainerStatus { container_id: container.id.clone(), pid, exit_code }
}

/// Swarmkit's word for each state.
fn message(state: TaskState) -> &'static str {
    match state {
        TaskState::Accepted => "accepted",
        TaskState::Preparing => "preparing",
        TaskState::Ready => "prepared",
        TaskState::Starting => "starting",
        TaskState::Running => "started",
        TaskState::Complete => "finished",
        TaskState::Shutdown => "shutdown",
        other => other.as_str(),
    }
}
