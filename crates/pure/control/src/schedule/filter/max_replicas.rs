//! A service may bound its tasks on one node.

use crate::schedule::node_set::NodeLoad;
use crate::schedule::reasons::Reason;
use shoal_model::Task;

pub(super) fn check(task: &Task, load: &NodeLoad) -> Result<(), Reason> {
    let max = task.spec.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    let full = max != 0 && u64::from(load.tasks_of(&task.service)) >= max;
    if full { Err(Reason::MaxReplicas) } else { Ok(()) }
}
