//! When the faults are over every service has what it asks for: as many tasks as it should have run, nothing is left to
//! stop, and no update hangs.

use super::Broken;
use crate::world::World;
use shoal_control::{is_up_to_date, service_status};
use shoal_model::service::UpdateState;
use shoal_model::spec::RestartCondition;
use shoal_model::{Service, Task, TaskState};

fn broken(how: String) -> Broken {
    Broken { invariant: "converged", how }
}

pub(super) fn check(world: &World) -> Result<(), Broken> {
    let state = world.state();
    for task in state.tasks().values() {
        let on_live_host = task.node.as_ref().and_then(|id| world.hosts.get(id)).is_none_or(|host| host.up);
        if task.desired > TaskState::Running && !task.status.state.is_terminal() && on_live_host {
            return Err(broken(format!(
                "task {} was to stop and is {}",
                task.name(),
                task.status.state.as_str()
            )));
        }
        if !state.services().contains_key(&task.service) && on_live_host {
            return Err(broken(format!("task {} outlives its service", task.name())));
        }
    }
    state.services().values().try_for_each(|service| check_service(world, service))
}

fn waits_for_a_node(task: &Task) -> bool {
    task.status.state < TaskState::Assigned && !task.status.err.is_empty()
}

fn check_service(world: &World, service: &Service) -> Result<(), Broken> {
    let state = world.state();
    let name = &service.spec.name;
    let status = service_status(state, service);
    let active = || state.tasks_of_service(&service.id).filter(|task| task.desired <= TaskState::Running);
    let waiting = active().filter(|task| waits_for_a_node(task)).count();
    let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
    let restarts = service.spec.task_template.restart_policy.as_ref();
    let always = restarts.and_then(|policy| policy.condition).unwrap_or_default() == RestartCondition::Any
        && restarts.is_none_or(|policy| policy.max_attempts.unwrap_or(0) == 0);
    if service.spec.is_job() {
        let total = service.spec.mode.replicated_job.as_ref().and_then(|job| job.total_completions);
        let short = total.is_some_and(|total| status.completed < total);
        if always && short && waiting == 0 && status.running == 0 {
            return Err(broken(format!("job {name} has completed {} times", status.completed)));
        }
        return Ok(());
    }
    // A task that waits may be the second one of its slot, where the new one starts first.
    let enough =
        status.running + waiting >= status.desired && (waiting > 0 || status.running == status.desired);
    if always && !enough {
        let wanted = status.desired;
        return Err(broken(format!("{name} runs {} of {wanted}, {waiting} wait", status.running)));
    }
    let mut slots: Vec<_> = active().map(|task| task.name()).collect();
    slots.sort_unstable();
    let tasks = slots.len();
    slots.dedup();
    let update = service.update_status.as_ref().map(|status| status.state);
    let paused = matches!(update, Some(UpdateState::Paused | UpdateState::RollbackPaused));
    if waiting > 0 || paused {
        return Ok(());
    }
    if slots.len() != tasks {
        return Err(broken(format!("{name} runs more than one task in a slot")));
    }
    if let Some(stale) = active().find(|task| !is_up_to_date(state, service, task)) {
        return Err(broken(format!("task {} is not what {name} asks for", stale.name())));
    }
    if matches!(update, Some(UpdateState::Updating | UpdateState::RollbackStarted)) {
        return Err(broken(format!("the update of {name} hangs: {update:?}")));
    }
    Ok(())
}
