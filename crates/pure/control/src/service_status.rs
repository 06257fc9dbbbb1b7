//! How many tasks a service has and should have; what `docker service ls` shows.

use crate::liveness::is_down;
use shoal_model::{Service, Task, TaskState};
use shoal_store::State;

/// How many tasks a service has and should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceStatus {
    /// Tasks that run, on nodes that are not down.
    pub running: u64,
    /// Tasks that should run at the same time.
    pub desired: u64,
    /// Jobs only: tasks of the current iteration that have completed.
    pub completed: u64,
}

/// How many tasks a service has and should have.
pub fn service_status(state: &State, service: &Service) -> ServiceStatus {
    let mut status = ServiceStatus::default();
    let iteration = service.job_iteration.map(|version| version.index);
    let mut wanted = 0;
    for task in state.tasks_of_service(&service.id) {
        if service.spec.is_job() && task.job_iteration != iteration {
            continue;
        }
        status.completed += u64::from(service.spec.is_job() && task.status.state == TaskState::Complete);
        if task.desired <= TaskState::Running {
            wanted += u64::from(!task.status.state.is_terminal());
            status.running += u64::from(runs(state, task));
        }
    }
    status.desired = match &service.spec.mode.replicated_job {
        Some(job) => job.max_concurrent.unwrap_or(1),
        None => service.spec.replicas().unwrap_or(wanted),
    };
    status
}

fn runs(state: &State, task: &Task) -> bool {
    let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
    task.status.state == TaskState::Running && node.is_none_or(|node| !is_down(node))
}
