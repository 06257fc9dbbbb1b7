//! Nodes.

use super::AdmitError;
use shoal_model::node::{NodeRole, NodeSpec, NodeState};
use shoal_model::{Node, NodeId, Version};
use shoal_store::State;

/// A changed node. The caller proposes `Change::Update` with it, and then lets the consensus group follow the role.
pub fn update_node(state: &State, id: &NodeId, version: Version, spec: NodeSpec) -> Result<Node, AdmitError> {
    let stored = find(state, id)?;
    if stored.spec.role == NodeRole::Manager && spec.role == NodeRole::Worker {
        check_demotion(state, stored)?;
    }
    let mut node = stored.clone();
    node.meta.version = version;
    node.spec = spec;
    Ok(node)
}

fn find<'a>(state: &'a State, id: &NodeId) -> Result<&'a Node, AdmitError> {
    let found = state.nodes().get(id).map(AsRef::as_ref);
    found.ok_or_else(|| AdmitError::not_found(format!("node {id} not found")))
}

/// A demotion must leave a majority of managers that are there.
fn check_demotion(state: &State, node: &Node) -> Result<(), AdmitError> {
    let managers: Vec<_> = state.nodes().values().filter(|n| n.spec.role == NodeRole::Manager).collect();
    let others: Vec<_> = managers.iter().filter(|n| n.id != node.id).collect();
    if others.is_empty() {
        return Err(AdmitError::precondition("attempting to demote the last manager of the swarm"));
    }
    let ready = others.iter().filter(|n| n.status.state == NodeState::Ready).count();
    if ready <= others.len() / 2 {
        return Err(AdmitError::precondition(
            "can't remove member from the raft: this would result in a loss of quorum",
        ));
    }
    Ok(())
}

/// Whether a node may be removed; the caller proposes `Change::Remove`. What ran on it is replaced elsewhere.
pub fn remove_node(state: &State, id: &NodeId, force: bool) -> Result<(), AdmitError> {
    let node = find(state, id)?;
    if node.spec.role == NodeRole::Manager {
        return Err(AdmitError::precondition(format!(
            "node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
        )));
    }
    if !force && node.status.state == NodeState::Ready {
        return Err(AdmitError::precondition(format!("node {id} is not down and can't be removed")));
    }
    Ok(())
}
