//! When a task that ended is replaced, and how soon.

use super::slot::Slot;
use shoal_model::spec::{RestartCondition, RestartPolicy};
use shoal_model::{Service, Task, TaskState, Timestamp};
use std::time::Duration;

/// Between the end of a task and the start of its replacement (swarmkit default).
const DELAY_DEFAULT: Duration = Duration::from_secs(5);

/// Whether the restart policy wants another task after `task`, the newest of its slot. The answer depends on when it
/// ended, not on when it is asked, so that it stays the same.
pub(super) fn wants_another(service: &Service, slot: &Slot, task: &Task) -> bool {
    let policy = task.spec.restart_policy.clone().unwrap_or_default();
    let completed = task.status.state == TaskState::Complete;
    let condition = match policy.condition.unwrap_or_default() {
        RestartCondition::Any if service.spec.is_job() => RestartCondition::OnFailure,
        condition => condition,
    };
    match condition {
        RestartCondition::None => return false,
        RestartCondition::OnFailure if completed => return false,
        RestartCondition::OnFailure | RestartCondition::Any => {}
    }
    let max = policy.max_attempts.unwrap_or(0);
    max == 0 || attempts(&policy, slot, task) < max
}

/// How often the slot has been restarted with this spec, within the policy's window.
fn attempts(policy: &RestartPolicy, slot: &Slot, task: &Task) -> u64 {
    let same = slot
        .tasks
        .iter()
        .filter(|other| other.spec_version == task.spec_version && other.job_iteration == task.job_iteration);
    // The first one is no restart.
    let restarts = same.skip(1);
    let window = policy.window.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0);
    let counted = match window {
        None => restarts.count(),
        Some(nanos) => {
            let window = Duration::from_nanos(nanos);
            let ended = task.status.timestamp;
            restarts.filter(|other| ended.since(other.meta.created_at) < window).count()
        }
    };
    u64::try_from(counted).unwrap_or(u64::MAX)
}

/// When the replacement of a task that ended by itself may start.
pub(super) fn start_after(task: &Task) -> Timestamp {
    let asked = task.spec.restart_policy.as_ref().and_then(|policy| policy.delay);
    let delay = asked.and_then(|nanos| u64::try_from(nanos).ok()).map_or(DELAY_DEFAULT, Duration::from_nanos);
    task.status.timestamp.plus(delay)
}
