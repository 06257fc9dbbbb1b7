//! No share of new connections goes to a task that does not run, is to stop, or is on a node in doubt.

use super::Broken;
use crate::world::World;
use shoal_control::Liveness;
use shoal_model::node::NodeState;
use shoal_model::{Assignment, TaskState};
use shoal_store::State;

const NAME: &str = "ring";

pub(super) fn check(state: &State, liveness: &Liveness, assignment: &Assignment) -> Result<(), Broken> {
    for service in assignment.networks.values().flat_map(|network| network.services.values()) {
        for (id, share) in service.tasks.iter().filter(|(_, share)| share.weight > 0) {
            let serves = state.tasks().get(id).is_some_and(|task| task.serves());
            let node = state.nodes().get(&share.node);
            let trusted = |node| !liveness.suspected.contains(node);
            // Where all servers are on nodes in doubt, the doubt does not count.
            let elsewhere = || service.tasks.values().any(|other| other.weight > 0 && trusted(&other.node));
            let there = node.is_some_and(|node| node.status.state == NodeState::Ready)
                && (trusted(&share.node) || !elsewhere());
            if !serves || !there {
                let how = format!("task {} of {} has a share of new connections", share.name, service.name);
                return Err(Broken { invariant: NAME, how });
            }
        }
    }
    Ok(())
}

/// In the end, whatever has a share is really there, on every host's word.
pub(super) fn check_hosts(world: &World) -> Result<(), Broken> {
    let held = world.hosts.values().filter(|host| host.up).filter_map(|host| host.held.as_ref());
    for network in held.flat_map(|held| held.networks.values()) {
        for (id, share) in network.services.values().flat_map(|s| &s.tasks).filter(|(_, s)| s.weight > 0) {
            let container = world.hosts.get(&share.node).and_then(|host| host.containers.get(id));
            if container.is_none_or(|container| container.status.state != TaskState::Running) {
                let how = format!("{} has a share of new connections and no container", share.name);
                return Err(Broken { invariant: NAME, how });
            }
        }
    }
    Ok(())
}
