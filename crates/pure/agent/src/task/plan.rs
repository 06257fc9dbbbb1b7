//! The next step of every container.

use super::{drain, life};
use crate::diff::outstanding;
use crate::network::overlay_namespace;
use crate::{names, retry};
use shoal_model::assignment::{
    ContainerState, Health, ImageState, ObservedContainer, TaskAssignment, TaskOp,
};
use shoal_model::netns::{NamespaceName, Namespaces};
use shoal_model::{Assignment, Observed, TaskId, TaskState, Timestamp};
use std::collections::BTreeSet;

/// The next steps of the node's containers, one a task at most, in the order of the tasks' ids.
///
/// A container is made (and started) only when the namespaces hold what is declared for it: its own and those of its
/// overlays. A task that serves drains before its container is told to stop. `Stop` comes once, and again if the container outlives its grace period. An ended container stays until
/// the managers want it removed or no longer name its task.
pub fn plan(
    assignment: &Assignment,
    observed: &Observed,
    declared: &Namespaces,
    namespaces: &Namespaces,
    now: Timestamp,
) -> Vec<TaskOp> {
    let unfinished = outstanding(declared, namespaces);
    let mut tasks: BTreeSet<&TaskId> = assignment.tasks.keys().collect();
    tasks.extend(observed.containers.keys());
    let step = |id: &TaskId| {
        let container = life::container(id, observed);
        match (assignment.tasks.get(id), container) {
            (Some(task), container) => {
                let ready = is_ready(task, assignment, declared, &unfinished);
                assigned((task, assignment), container, observed, ready, now)
            }
            (None, Some(container)) => end(id, None, container, now),
            (None, None) => None,
        }
    };
    tasks.into_iter().filter_map(step).collect()
}

/// Whether the namespaces that the task's container needs hold what is declared.
pub(super) fn is_ready(
    task: &TaskAssignment,
    assignment: &Assignment,
    declared: &Namespaces,
    unfinished: &BTreeSet<NamespaceName>,
) -> bool {
    let sandbox = names::sandbox(&task.id);
    let networks = task.attachments.iter().filter_map(|a| assignment.networks.get(&a.network));
    let mut needed = networks.map(overlay_namespace).chain([sandbox.clone()]);
    declared.contains_key(&sandbox) && needed.all(|name| !unfinished.contains(&name))
}

/// Whether the pause after the task's last failure is over; never after a failure that trying again cannot help.
pub(super) fn may_try(task: &TaskId, observed: &Observed, now: Timestamp) -> bool {
    let failure = observed.failures.get(task);
    failure.is_none_or(|failure| retry::not_before(failure).is_some_and(|at| now >= at))
}

fn assigned(
    (task, assignment): (&TaskAssignment, &Assignment),
    container: Option<&ObservedContainer>,
    observed: &Observed,
    ready: bool,
    now: Timestamp,
) -> Option<TaskOp> {
    let Some(container) = container else {
        let worth_it = life::is_wanted(task) && !life::is_lost(task, observed);
        return if worth_it && may_try(&task.id, observed, now) {
            prepare(task, observed, ready)
        } else {
            None
        };
    };
    match container.state {
        ContainerState::Created if life::told_to_stop(task) => Some(TaskOp::Remove(task.id.clone())),
        ContainerState::Created => {
            let go = ready && life::is_wanted(task) && life::may_start(task, now);
            (go && may_try(&task.id, observed, now)).then(|| TaskOp::Start(task.id.clone()))
        }
        ContainerState::Running { .. } => {
            // A task that the managers hold for ended (its node was gone too long) may have a successor elsewhere.
            let unwell = container.health == Some(Health::Unhealthy);
            let draining =
                life::told_to_stop(task) && !unwell && !drain::is_over(task, assignment, observed, now);
            let unwanted = !life::is_wanted(task) || unwell;
            if unwanted && !draining { end(&task.id, Some(task), container, now) } else { None }
        }
        ContainerState::Exited { .. } => {
            (task.desired == TaskState::Remove).then(|| TaskOp::Remove(task.id.clone()))
        }
    }
}

/// The step towards a container: the image, then the container.
fn prepare(task: &TaskAssignment, observed: &Observed, ready: bool) -> Option<TaskOp> {
    let image = task.spec.container().image.clone();
    match observed.images.get(&image) {
        Some(ImageState::Present) => ready.then(|| TaskOp::Create(task.id.clone())),
        Some(ImageState::Fetching) => None,
        // An earlier task's attempt may have failed; this one has its own.
        Some(ImageState::Missing | ImageState::Failed(_)) | None => {
            Some(TaskOp::FetchImage { task: task.id.clone(), image })
        }
    }
}

/// The step towards no container.
fn end(
    id: &TaskId,
    task: Option<&TaskAssignment>,
    container: &ObservedContainer,
    now: Timestamp,
) -> Option<TaskOp> {
    match container.state {
        ContainerState::Running { .. } => {
            let told = life::grace_over(task, container).is_some_and(|over| now < over);
            (!told).then(|| TaskOp::Stop(id.clone()))
        }
        ContainerState::Created | ContainerState::Exited { .. } => Some(TaskOp::Remove(id.clone())),
    }
}
