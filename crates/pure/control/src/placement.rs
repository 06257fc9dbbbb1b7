//! Whether a task may be where it is.

use crate::liveness::is_down;
use crate::plan::Leaving;
use shoal_model::constraint::Constraint;
use shoal_model::node::Availability;
use shoal_model::spec::TaskSpec;
use shoal_model::{Node, Task, TaskState};
use shoal_store::State;

/// Whether a node meets all placement constraints. One that cannot be read (an older version admitted it) is met by no
/// node.
pub(crate) fn satisfies_constraints(spec: &TaskSpec, node: &Node) -> bool {
    let texts = spec.placement.iter().flat_map(|placement| &placement.constraints);
    texts.map(|text| text.parse::<Constraint>()).all(|parsed| parsed.is_ok_and(|c| c.admits(node)))
}

/// Why a task must leave its node, if it must. A paused node keeps what it has.
pub(crate) fn must_leave(state: &State, task: &Task) -> Option<Leaving> {
    let id = task.node.as_ref()?;
    let Some(node) = state.nodes().get(id) else { return Some(Leaving::NodeGone) };
    if is_down(node) && task.status.state >= TaskState::Assigned {
        Some(Leaving::NodeDown)
    } else if node.spec.availability == Availability::Drain {
        Some(Leaving::NodeDrains)
    } else if !satisfies_constraints(&task.spec, node) {
        Some(Leaving::Constraint)
    } else {
        None
    }
}
