//! The node must meet the placement constraints.

use crate::placement::satisfies_constraints;
use crate::schedule::node_set::NodeLoad;
use crate::schedule::reasons::Reason;
use shoal_model::spec::TaskSpec;

pub(super) fn check(spec: &TaskSpec, load: &NodeLoad) -> Result<(), Reason> {
    if satisfies_constraints(spec, &load.node) { Ok(()) } else { Err(Reason::Constraints) }
}
