//! Every namespace of the node as it should be: the article's picture of a Swarm node, from the assignment alone.

mod bridge;
mod host;
mod ingress;
mod overlay;
mod pair;
mod sandbox;
mod sysctls;
mod ways_back;

pub(crate) use ingress::host_port as ingress_host_port;
pub(crate) use overlay::namespace as overlay_namespace;
pub(crate) use sandbox::{has_way_out, mac as task_mac};
pub(crate) use ways_back::entries;

use crate::LocalFacts;
use crate::task::life;
use shoal_model::assignment::{NetworkAssignment, TaskAssignment};
use shoal_model::netns::{NamespaceName, Namespaces};
use shoal_model::{Assignment, Observed, TaskId, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Every namespace of the node as it should be.
///
/// What exists (`namespaces`) is read for one thing only: a sandbox keeps the address that it has on its bridge to the
/// outside; a new one takes the lowest that is free. A task's sandbox is there while the task is wanted or its container
/// runs; an overlay's namespace while such a task is on it, and that of ingress always. The host's bridges are always
/// there: the end of the node's life is [`crate::diff`] from an empty declaration, not from an empty assignment.
pub fn declare(
    assignment: &Assignment,
    observed: &Observed,
    namespaces: &Namespaces,
    facts: &LocalFacts,
    _now: Timestamp,
) -> Namespaces {
    let sandboxed: Vec<&TaskAssignment> = assignment
        .tasks
        .values()
        .filter(|task| life::needs_sandbox(task, observed) && sandbox::networks_known(task, assignment))
        .collect();
    let outside = bridge::addresses(assignment, &sandboxed, namespaces, facts);

    let mut declared = Namespaces::new();
    declared.insert(NamespaceName::Host, host::base(facts));
    for network in assignment.networks.values().filter(|network| is_present(network, &sandboxed)) {
        declared.insert(overlay::namespace(network), overlay::base(network, facts));
    }
    if let Some(ingress) = ingress_network(assignment) {
        ingress::add(&mut declared, ingress, facts);
    }
    for task in &sandboxed {
        sandbox::add(&mut declared, task, assignment, outside.get(&task.id), facts);
    }
    host::add_ports(&mut declared, assignment, observed, &outside, facts);
    declared
}

/// The address of each sandbox on the bridge that leads out of it.
type OutsideAddresses = BTreeMap<TaskId, bridge::Outside>;

/// The network of the routing mesh, once it has its subnet.
pub(crate) fn ingress_network(assignment: &Assignment) -> Option<&NetworkAssignment> {
    assignment.networks.values().find(|n| n.network.spec.ingress && n.network.is_allocated())
}

/// Whether the node takes part in the network: with a task's sandbox, or because it is the ingress network.
fn is_present(network: &NetworkAssignment, sandboxed: &[&TaskAssignment]) -> bool {
    let on_it = |task: &&TaskAssignment| task.attachments.iter().any(|a| a.network == network.network.id);
    network.network.is_allocated() && (network.network.spec.ingress || sandboxed.iter().any(on_it))
}

/// The prefix length of a single address.
fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
