//! What one node should hold.

use crate::liveness::{Liveness, is_down};
use ipnet::IpNet;
use shoal_model::assignment::{NetworkAssignment, NetworkEndpoint, ServiceOnNetwork, TaskOnNetwork};
use shoal_model::balancing::{Balancing, Weight};
use shoal_model::spec::PublishMode;
use shoal_model::{
    Assignment, Mac, Network, NetworkId, Node, NodeId, Service, ServiceId, Task, TaskAssignment, TaskId,
    TaskState,
};
use shoal_store::State;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What one node should hold: its tasks until they are forgotten, the networks that those of them need which have not
/// ended, and on those networks every endpoint and service of the swarm. A node that is not known should hold nothing.
pub fn assign(state: &State, liveness: &Liveness, node: &NodeId) -> Assignment {
    let mut assignment = Assignment { version: state.index(), ..Assignment::default() };
    let Some(own) = state.nodes().get(node) else { return assignment };
    let tasks: Vec<_> = state.tasks_of_node(node).filter(|task| is_remembered(task)).collect();
    for task in &tasks {
        if is_the_nodes(task) {
            refer_to_data(state, task, &mut assignment);
        }
        assignment.tasks.insert(task.id.clone(), task_assignment(state, liveness, task));
    }
    let ingress = state.ingress_network().map(|network| network.id.clone());
    let of_tasks = tasks
        .iter()
        .filter(|task| is_the_nodes(task))
        .flat_map(|task| &task.attachments)
        .map(|a| a.network.clone());
    let wanted: BTreeSet<NetworkId> = ingress.into_iter().chain(of_tasks).collect();
    let present = wanted.iter().filter_map(|id| state.networks().get(id)).filter(|n| n.is_allocated());
    let mut networks: BTreeMap<NetworkId, NetworkAssignment> =
        present.map(|n| (n.id.clone(), empty_network(state, n, own))).collect();
    fill_in_services(state, &mut networks);
    fill_in_nodes(state, &mut networks);
    fill_in_tasks(state, liveness, &mut networks);
    assignment.networks = networks;
    assignment
}

/// A node hears of a task once it is assigned, and as long as the cluster remembers it: so long its container and its
/// log are kept.
fn is_remembered(task: &Task) -> bool {
    (TaskState::Assigned..=TaskState::Rejected).contains(&task.status.state)
}

/// A task is the node's to work on, and has its addresses, until the node has told that it ended.
pub(crate) fn is_the_nodes(task: &Task) -> bool {
    (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
}

fn task_assignment(state: &State, liveness: &Liveness, task: &Task) -> TaskAssignment {
    let service = state.services().get(&task.service);
    TaskAssignment {
        id: task.id.clone(),
        service: task.service.clone(),
        service_name: task.service_name.clone(),
        registry_auth: service.and_then(|service| service.registry_auth.clone()),
        service_labels: service.map(|service| service.spec.labels.clone()).unwrap_or_default(),
        slot: task.slot,
        spec: task.spec.clone(),
        // A task that was removed before it stopped must stop all the same.
        desired: if service.is_some() { task.desired } else { TaskState::Remove },
        known: task.status.state,
        attachments: if is_the_nodes(task) { task.attachments.clone() } else { Vec::new() },
        host_ports: task.host_ports.clone(),
        start_after: task.start_after,
        container_name: task.container_name(),
        withdrawn: liveness.withdrawn.contains(&task.id),
    }
}

fn refer_to_data(state: &State, task: &Task, assignment: &mut Assignment) {
    let container = task.spec.container();
    for wanted in &container.secrets {
        if let Some(secret) = state.secrets().get(wanted.secret_id.as_str()) {
            assignment.secrets.insert(secret.id.clone(), (**secret).clone());
        }
    }
    for wanted in &container.configs {
        if let Some(config) = state.configs().get(wanted.config_id.as_str()) {
            assignment.configs.insert(config.id.clone(), (**config).clone());
        }
    }
}

fn empty_network(state: &State, network: &Network, own: &Node) -> NetworkAssignment {
    NetworkAssignment {
        network: network.clone(),
        data_path_port: state.cluster().map(|cluster| cluster.data_path_port).unwrap_or_default(),
        own: own.attachments.get(&network.id).cloned(),
        endpoints: BTreeMap::new(),
        services: BTreeMap::new(),
        peers: BTreeMap::new(),
    }
}

fn fill_in_services(state: &State, networks: &mut BTreeMap<NetworkId, NetworkAssignment>) {
    for service in state.services().values() {
        let own = service.spec.attached_networks().iter().filter_map(|a| a.target.parse().ok());
        let vips = service.endpoint.virtual_ips.iter().map(|vip| vip.network.clone());
        for network in own.chain(vips).collect::<BTreeSet<NetworkId>>() {
            if let Some(assigned) = networks.get_mut(&network) {
                let on_network = service_on_network(service, &assigned.network);
                assigned.services.insert(service.id.clone(), on_network);
            }
        }
    }
}

fn service_on_network(service: &Service, network: &Network) -> ServiceOnNetwork {
    let mesh = |port: &&shoal_model::spec::PortConfig| {
        network.spec.ingress && port.mode() == PublishMode::Ingress && port.published_port != 0
    };
    ServiceOnNetwork {
        name: service.spec.name.clone(),
        labels: service.spec.labels.clone(),
        vips: service.vips_on(&network.id).map(|vip| vip.addr()).collect(),
        ports: service.endpoint.ports.iter().filter(mesh).cloned().collect(),
        tasks: BTreeMap::new(),
    }
}

/// Where a node's tunnel traffic goes.
fn tunnel(node: &Node) -> Option<IpAddr> {
    node.status.data_path_addr.or_else(|| node.status.addr.parse().ok())
}

/// The nodes' own endpoints. A node that is down has none, but keeps its address.
fn fill_in_nodes(state: &State, networks: &mut BTreeMap<NetworkId, NetworkAssignment>) {
    for node in state.nodes().values().filter(|node| !is_down(node)) {
        for (network, own) in &node.attachments {
            let (Some(assigned), Some(tunnel)) = (networks.get_mut(network), tunnel(node)) else { continue };
            let addresses = own.addresses.iter().map(IpNet::addr).collect();
            let endpoint = NetworkEndpoint { addresses, mac: own.mac, node: node.id.clone(), tunnel };
            assigned.endpoints.insert(node.id.to_string(), endpoint);
            assigned.peers.insert(node.id.clone(), tunnel);
        }
    }
}

fn fill_in_tasks(state: &State, liveness: &Liveness, networks: &mut BTreeMap<NetworkId, NetworkAssignment>) {
    let trusted = trusted_services(state, liveness);
    for node in state.nodes().values() {
        let down = is_down(node);
        let doubtful = liveness.suspected.contains(&node.id);
        for task in state.tasks_of_node(&node.id).filter(|task| is_the_nodes(task)) {
            for attachment in &task.attachments {
                let Some(assigned) = networks.get_mut(&attachment.network) else { continue };
                let addresses: Vec<IpAddr> = attachment.addresses.iter().map(IpNet::addr).collect();
                if addresses.is_empty() {
                    continue;
                }
                let mac = Mac::of_endpoint(task.id.as_str(), attachment.network.as_str());
                if let Some(tunnel) = tunnel(node).filter(|_| !down) {
                    let addresses = addresses.clone();
                    let endpoint = NetworkEndpoint { addresses, mac, node: node.id.clone(), tunnel };
                    assigned.endpoints.insert(task.id.to_string(), endpoint);
                    assigned.peers.insert(node.id.clone(), tunnel);
                }
                let connections = liveness.connections.of(&task.service, &task.id);
                let doubtful = doubtful && trusted.contains(&task.service);
                let weight = if task.serves() && !doubtful { asked_weight(state, task, node) } else { 0 };
                // A server of a node that is down is none: what still goes to it is cut.
                if !down {
                    serve(&mut assigned.services, task, attachment, (addresses, mac, weight, connections));
                }
            }
        }
    }
}

/// Services of which a task serves on a node that is not in doubt. Suspicion alone never takes a service its last
/// servers: where all of them are suspected, it is more likely that the leader is cut off, and trying costs nothing.
fn trusted_services(state: &State, liveness: &Liveness) -> BTreeSet<ServiceId> {
    let trusted =
        state.nodes().values().filter(|node| !is_down(node) && !liveness.suspected.contains(&node.id));
    let tasks = trusted.flat_map(|node| state.tasks_of_node(&node.id).map(move |task| (node, task)));
    let serving = tasks.filter(|(node, task)| task.serves() && asked_weight(state, task, node) > 0);
    serving.map(|(_, task)| task.service.clone()).collect()
}

/// The share that the labels ask for: the containers' label wins over the service's.
fn asked_weight(state: &State, task: &Task, node: &Node) -> u32 {
    let of_containers = Weight::of_containers(&task.spec.container().labels).ok().flatten();
    let of_service = || Balancing::of_admitted(&state.services().get(&task.service)?.spec.labels).weight;
    of_containers.or_else(of_service).map_or(1, |weight| weight.on_node(&node.spec.labels))
}

/// A task that runs is a real server of its service: with the weight that is asked for, or 0 while it drains or its node is in doubt.
fn serve(
    services: &mut BTreeMap<ServiceId, ServiceOnNetwork>,
    task: &Arc<Task>,
    attachment: &shoal_model::task::Attachment,
    (addresses, mac, weight, connections): (Vec<IpAddr>, Mac, u32, u64),
) {
    let Some(service) = services.get_mut(&task.service) else { return };
    let (Some(node), TaskState::Running) = (&task.node, task.status.state) else { return };
    let id: TaskId = task.id.clone();
    let on_network = TaskOnNetwork {
        name: task.name(),
        container_name: task.container_name(),
        addresses,
        mac,
        node: node.clone(),
        aliases: attachment.aliases.clone(),
        weight,
        connections,
    };
    service.tasks.insert(id, on_network);
}
