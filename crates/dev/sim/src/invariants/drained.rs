//! A drained node is given nothing, and is empty in the end.

use super::Broken;
use crate::world::World;
use shoal_control::Plan;
use shoal_model::NodeId;
use shoal_model::node::Availability;
use shoal_store::{Change, State};

const NAME: &str = "drained";

fn is_drained(state: &State, node: &NodeId) -> bool {
    state.nodes().get(node).is_some_and(|node| node.spec.availability == Availability::Drain)
}

pub(super) fn check_plan(state: &State, plan: &Plan) -> Result<(), Broken> {
    for change in &plan.changes {
        if let Change::AssignTask { id, node, .. } = change
            && is_drained(state, node)
        {
            let how = format!("task {id} is given to drained node {node}");
            return Err(Broken { invariant: NAME, how });
        }
    }
    Ok(())
}

pub(super) fn check_hosts(world: &World) -> Result<(), Broken> {
    for host in world.hosts.values().filter(|host| is_drained(world.state(), &host.id)) {
        if let Some((task, _)) = host.containers.iter().find(|(_, c)| !c.status.state.is_terminal()) {
            let how = format!("drained {} still holds task {task}", host.name);
            return Err(Broken { invariant: NAME, how });
        }
    }
    Ok(())
}
