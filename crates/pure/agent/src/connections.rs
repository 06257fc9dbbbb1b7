//! What the managers hear of the connections that this node gives to tasks.

use shoal_model::assignment::Connections;
use shoal_model::balancing::Balancing;
use shoal_model::lvs::{Counters, Scheduler, VirtualServiceKey};
use shoal_model::spec::Protocol;
use shoal_model::{Assignment, TaskId};
use std::collections::BTreeMap;

/// Whether the node is to count connections at all.
pub fn counts_connections(assignment: &Assignment) -> bool {
    assignment.networks.values().flat_map(|n| n.services.values()).any(|s| goes_by_connections(&s.labels))
}

/// The connections that this node gives to each task of the services whose scheduler goes by them, on all networks and
/// published ports together. With UDP ports the exchanges that are still remembered count; between tasks only what is
/// established does, since there datagrams and closing connections cannot be told apart.
pub fn connections(
    assignment: &Assignment,
    counters: &BTreeMap<VirtualServiceKey, BTreeMap<TaskId, Counters>>,
) -> Connections {
    let mut by_task: BTreeMap<&TaskId, u64> = BTreeMap::new();
    for (key, tasks) in counters {
        let udp = matches!(key, VirtualServiceKey::Ingress { protocol: Protocol::Udp, .. });
        for (task, counters) in tasks {
            let live = if udp { counters.active + counters.inactive } else { counters.active };
            *by_task.entry(task).or_default() += live;
        }
    }
    let mut connections = Connections::new();
    for (id, service) in assignment.networks.values().flat_map(|network| &network.services) {
        if goes_by_connections(&service.labels) {
            let counts = service.tasks.keys().filter_map(|task| Some((task.clone(), *by_task.get(task)?)));
            connections.entry(id.clone()).or_default().extend(counts.filter(|(_, count)| *count > 0));
        }
    }
    connections
}

fn goes_by_connections(labels: &shoal_model::spec::Labels) -> bool {
    Balancing::of_admitted(labels).scheduler.is_some_and(Scheduler::counts_connections)
}
