//! Rolling updates: slot by slot the tasks of an older spec are replaced, with a pause between, under watch; failures
//! stop the update or turn it back. Everything is read from the state: the update's start from the service, what it has
//! done from the tasks made since.

use super::dirty::is_up_to_date;
use super::new_task::{Order, make_task};
use super::tend::{Tended, update_config};
use crate::draft::Draft;
use crate::plan::Report;
use shoal_model::node::Availability;
use shoal_model::service::{UpdateState, UpdateStatus};
use shoal_model::spec::{FailureAction, Nanos, PublishMode, UpdateConfig, UpdateOrder};
use shoal_model::{Service, Task, TaskState, Timestamp};
use shoal_store::{Change, Object, State};
use std::sync::Arc;
use std::time::Duration;

/// How long a new task is watched (swarmkit default).
const MONITOR_DEFAULT: Duration = Duration::from_secs(5);

/// One slot as the update sees it.
struct Step<'a> {
    tended: &'a Tended,
    /// Something of an older spec is in it and nothing of the new.
    stale: bool,
    /// The first task that this update made in it.
    first: Option<Arc<Task>>,
}

pub(super) fn update(draft: &mut Draft<'_>, service: &Service, tended: &[Tended]) {
    let status = service.update_status.as_ref();
    let running = status.filter(|s| matches!(s.state, UpdateState::Updating | UpdateState::RollbackStarted));
    if status.is_some_and(|s| matches!(s.state, UpdateState::Paused | UpdateState::RollbackPaused)) {
        return;
    }
    let started_at = running.map_or(draft.now(), |status| status.started_at);
    let steps: Vec<_> = tended.iter().map(|slot| step(draft.state(), service, slot, started_at)).collect();
    let stale = steps.iter().filter(|step| step.stale).count();
    if running.is_none() {
        if stale == 0 {
            return;
        }
        let message = "update in progress".to_owned();
        set_status(draft, service, UpdateState::Updating, started_at, message);
    }
    let config = update_config(service);
    if let Some(failed) = too_many_failures(draft.state(), service, &config, &steps, started_at) {
        return give_up(draft, service, &config, started_at, &failed);
    }
    let in_flight = steps.iter().filter(|step| is_in_flight(draft, step, &config)).count();
    let parallelism = usize::try_from(config.parallelism).unwrap_or(usize::MAX);
    let at_once = if parallelism == 0 { usize::MAX } else { parallelism };
    let ready = steps.iter().filter(|step| step.stale && !step.tended.touched);
    for step in ready.take(at_once.saturating_sub(in_flight)) {
        replace(draft, service, &config, step.tended);
    }
    if stale == 0 {
        complete_when_stable(draft, service, &config, &steps, started_at);
    }
}

fn step<'a>(state: &State, service: &Service, tended: &'a Tended, started_at: Timestamp) -> Step<'a> {
    let up_to_date = |task: &Arc<Task>| is_up_to_date(state, service, task);
    let stale = if tended.refilled {
        false
    } else if tended.finished {
        tended.slot.newest().is_some_and(|task| !up_to_date(task))
    } else {
        !tended.staying.is_empty() && !tended.staying.iter().any(up_to_date)
    };
    let mut made = tended
        .slot
        .tasks
        .iter()
        .filter(|task| made_since(task, started_at) && up_to_date(task) && !was_given_up(task));
    Step { tended, stale, first: made.next().cloned() }
}

/// A task that left before it got anywhere (its node was lost or drained) tells nothing of the new spec.
fn was_given_up(task: &Task) -> bool {
    task.desired > TaskState::Running && settled_at(task).is_none()
}

fn made_since(task: &Task, started_at: Timestamp) -> bool {
    task.meta.created_at >= started_at
}

/// When a task got as far as it will for the update's purposes: it ran, or it ended.
fn settled_at(task: &Task) -> Option<Timestamp> {
    if !task.running_since.is_never() {
        Some(task.running_since)
    } else if task.status.state.is_terminal() {
        Some(task.status.timestamp)
    } else {
        None
    }
}

/// A slot holds its place in the update from the making of its new task to the end of the pause behind it.
fn is_in_flight(draft: &mut Draft<'_>, step: &Step<'_>, config: &UpdateConfig) -> bool {
    let Some(first) = &step.first else { return false };
    match settled_at(first) {
        None => true,
        Some(at) => {
            let until = at.plus(duration(config.delay));
            let pausing = draft.now() < until;
            if pausing {
                draft.look_again(until);
            }
            pausing
        }
    }
}

fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn monitor(config: &UpdateConfig) -> Duration {
    if config.monitor > 0 { duration(config.monitor) } else { MONITOR_DEFAULT }
}

/// The task whose end is one failure too many.
fn too_many_failures(
    state: &State,
    service: &Service,
    config: &UpdateConfig,
    steps: &[Step<'_>],
    started_at: Timestamp,
) -> Option<Arc<Task>> {
    if config.failure_action == Some(FailureAction::Continue) {
        return None;
    }
    let slots = steps.iter().filter(|step| step.stale || step.first.is_some()).count();
    let tasks = state.tasks_of_service(&service.id);
    let failed: Vec<_> = tasks
        .filter(|task| made_since(task, started_at) && is_up_to_date(state, service, task))
        .filter(|task| failed_under_watch(task, monitor(config)))
        .collect();
    let last = failed.iter().max_by_key(|task| task.status.timestamp)?;
    #[expect(clippy::cast_precision_loss, reason = "counts of tasks are far below 2^52")]
    let ratio = failed.len() as f64 / slots.max(1) as f64;
    (ratio > config.max_failure_ratio).then(|| Arc::clone(last))
}

fn failed_under_watch(task: &Task, monitor: Duration) -> bool {
    let by_itself =
        matches!(task.status.state, TaskState::Failed | TaskState::Rejected | TaskState::Complete);
    let early = task.running_since.is_never() || task.status.timestamp.since(task.running_since) <= monitor;
    by_itself && early
}

/// Stops the update, or turns it back. A rollback is never rolled back.
fn give_up(
    draft: &mut Draft<'_>,
    service: &Service,
    config: &UpdateConfig,
    started_at: Timestamp,
    failed: &Task,
) {
    let because = format!("due to failure or early termination of task {}", failed.id);
    let status = service.update_status.as_ref().map(|status| status.state);
    let rolling_back = status == Some(UpdateState::RollbackStarted);
    let wants_rollback = config.failure_action == Some(FailureAction::Rollback);
    let message = match &service.previous_spec {
        _ if rolling_back => {
            let message = format!("rollback paused {because}");
            set_status(draft, service, UpdateState::RollbackPaused, started_at, message.clone());
            message
        }
        Some(previous) if wants_rollback => {
            let message = format!("update rolled back {because}");
            let now = draft.now();
            let Some(stored) = draft.state().services().get(&service.id) else { return };
            let mut back = Service::clone(stored);
            back.previous_spec = Some(std::mem::replace(&mut back.spec, previous.clone()));
            back.update_status = Some(UpdateStatus {
                state: UpdateState::RollbackStarted,
                started_at: now,
                completed_at: Timestamp::default(),
                message: message.clone(),
            });
            draft.make(Change::Update(Object::from(back)));
            message
        }
        _ => {
            let message = format!("update paused {because}");
            set_status(draft, service, UpdateState::Paused, started_at, message.clone());
            message
        }
    };
    draft.report(Report::Update { service: service.id.clone(), message });
}

fn replace(draft: &mut Draft<'_>, service: &Service, config: &UpdateConfig, tended: &Tended) {
    let start_first = config.order == UpdateOrder::StartFirst && !must_stop_first(draft.state(), service);
    if start_first {
        make_task(draft, service, &tended.key, Order::AtOnce, Timestamp::default());
        return;
    }
    for task in &tended.staying {
        draft.make(Change::SetDesired { id: task.id.clone(), to: TaskState::Shutdown });
    }
    let order = if tended.staying.is_empty() { Order::AtOnce } else { Order::AfterOld };
    make_task(draft, service, &tended.key, order, Timestamp::default());
}

/// A port of the host can be held by one task at a time: where every node may hold the old one, the new one could never
/// start first.
fn must_stop_first(state: &State, service: &Service) -> bool {
    let ports = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    let fixed = ports.into_iter().any(|p| p.mode() == PublishMode::Host && p.published_port != 0);
    let open = state.nodes().values().filter(|n| n.spec.availability == Availability::Active).count();
    fixed && service.spec.replicas().is_none_or(|n| usize::try_from(n).is_ok_and(|n| n >= open))
}

/// The update is complete when every new task has been watched for long enough.
fn complete_when_stable(
    draft: &mut Draft<'_>,
    service: &Service,
    config: &UpdateConfig,
    steps: &[Step<'_>],
    started_at: Timestamp,
) {
    let firsts: Vec<_> = steps.iter().filter_map(|step| step.first.as_ref()).collect();
    let settled: Option<Vec<_>> = firsts.into_iter().map(|task| settled_at(task)).collect();
    let Some(settled) = settled else { return };
    let stable_at = settled.into_iter().max().map(|at| at.plus(monitor(config)));
    if let Some(at) = stable_at.filter(|at| draft.now() < *at) {
        draft.look_again(at);
        return;
    }
    let status = service.update_status.as_ref().map(|status| status.state);
    let (state, message) = if status == Some(UpdateState::RollbackStarted) {
        (UpdateState::RollbackCompleted, "rollback completed")
    } else {
        (UpdateState::Completed, "update completed")
    };
    set_status(draft, service, state, started_at, message.to_owned());
}

fn set_status(
    draft: &mut Draft<'_>,
    service: &Service,
    state: UpdateState,
    started_at: Timestamp,
    message: String,
) {
    let done = matches!(state, UpdateState::Completed | UpdateState::RollbackCompleted);
    let completed_at = if done { draft.now() } else { Timestamp::default() };
    draft.make(Change::SetUpdateStatus {
        id: service.id.clone(),
        if_spec_version: service.spec_version,
        status: Some(UpdateStatus { state, started_at, completed_at, message }),
    });
}
