//! What rules a node out for a task, one file a filter. Some filters give the same answer for every task of a group and
//! are asked once; the others depend on what the node holds by then.

mod constraint;
mod host_port;
mod max_replicas;
mod platform;
mod plugin;
mod ready;
mod resources;

use super::node_set::{NodeLoad, NodeSet};
use super::reasons::Reason;
use shoal_model::spec::TaskSpec;
use shoal_model::{NodeId, Task};
use std::collections::BTreeMap;

/// A filter that depends on the spec and the node alone.
type StandingFilter = fn(&TaskSpec, &NodeLoad) -> Result<(), Reason>;
/// A filter that depends on what the node holds at the moment.
type MomentaryFilter = fn(&Task, &NodeLoad) -> Result<(), Reason>;

const STANDING: [StandingFilter; 4] = [ready::check, plugin::check, constraint::check, platform::check];
const MOMENTARY: [MomentaryFilter; 3] = [resources::check, host_port::check, max_replicas::check];

/// What the standing filters said of each node.
pub(super) struct Standing {
    ruled_out: BTreeMap<NodeId, Reason>,
}

pub(super) fn standing(spec: &TaskSpec, nodes: &NodeSet) -> Standing {
    let first_reason = |load: &NodeLoad| STANDING.iter().find_map(|filter| filter(spec, load).err());
    let ruled_out =
        nodes.loads().filter_map(|load| Some((load.node.id.clone(), first_reason(load)?))).collect();
    Standing { ruled_out }
}

pub(super) fn check(nodes: &NodeSet, standing: &Standing, task: &Task, node: &NodeId) -> Result<(), Reason> {
    if let Some(reason) = standing.ruled_out.get(node) {
        return Err(*reason);
    }
    let load = nodes.get(node).ok_or(Reason::NotAvailable)?;
    MOMENTARY.iter().try_for_each(|filter| filter(task, load))
}
