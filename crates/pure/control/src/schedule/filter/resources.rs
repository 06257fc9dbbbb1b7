//! The node must have free what the task sets aside.

use crate::schedule::node_set::{NodeLoad, reserved};
use crate::schedule::reasons::Reason;
use shoal_model::Task;

pub(super) fn check(task: &Task, load: &NodeLoad) -> Result<(), Reason> {
    let (nano_cpus, memory_bytes) = reserved(&task.spec);
    let has = &load.node.description.resources;
    let fits = |wanted: i64, used: i64, has: i64| wanted == 0 || wanted <= has - used;
    if fits(nano_cpus, load.nano_cpus, has.nano_cpus)
        && fits(memory_bytes, load.memory_bytes, has.memory_bytes)
    {
        Ok(())
    } else {
        Err(Reason::Resources)
    }
}
