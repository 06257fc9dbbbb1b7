//! The article's swarm as one node sees it: `whoami` (published at 8000, on ingress and `my-demo`) with a task here and
//! one on the other node, and `client` (on `my-demo`) with a task here.

use ipnet::IpNet;
use shoal_agent::LocalFacts;
use shoal_model::assignment::{
    ContainerState, ImageState, NetworkAssignment, NetworkEndpoint, ObservedContainer, ServiceOnNetwork,
    TaskAssignment, TaskOnNetwork,
};
use shoal_model::network::{Network, NetworkSpec, Subnet};
use shoal_model::node::NodeAttachment;
use shoal_model::spec::{ContainerSpec, Labels, PortConfig, TaskSpec};
use shoal_model::task::Attachment;
use shoal_model::{
    Assignment, Mac, Meta, NetworkId, NodeId, Observed, ServiceId, TaskId, TaskState, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

pub(crate) fn here() -> NodeId {
    NodeId::from_random(1)
}

pub(crate) fn there() -> NodeId {
    NodeId::from_random(2)
}

pub(crate) fn ingress() -> NetworkId {
    NetworkId::from_random(10 << 100)
}

pub(crate) fn my_demo() -> NetworkId {
    NetworkId::from_random(11 << 100)
}

pub(crate) fn whoami() -> ServiceId {
    ServiceId::from_random(20)
}

pub(crate) fn client() -> ServiceId {
    ServiceId::from_random(21)
}

/// The task of `whoami` on this node.
pub(crate) fn whoami_1() -> TaskId {
    TaskId::from_random(31)
}

/// The task of `whoami` on the other node.
pub(crate) fn whoami_2() -> TaskId {
    TaskId::from_random(32)
}

/// The task of `client` on this node.
pub(crate) fn client_1() -> TaskId {
    TaskId::from_random(33)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn facts() -> LocalFacts {
    LocalFacts {
        node: here(),
        hostname: "swarm-manager".to_owned(),
        uplinks: BTreeSet::from(["eth0".to_owned()]),
        link_addresses: BTreeMap::from([("eth0".to_owned(), BTreeSet::from([ip("192.168.50.11")]))]),
        node_addresses: BTreeSet::from([ip("192.168.50.11")]),
        advertise: ip("192.168.50.11"),
        path_mtu: 1500,
        gateway_subnet: net("172.18.0.0/16"),
        bridge_subnet: net("172.17.0.0/16"),
        steers_by_mark: false,
        host_source: ip("192.168.50.11"),
        host_source_beside: None,
    }
}

pub(crate) fn network(id: NetworkId, name: &str, subnet: &str, vni: u32) -> NetworkAssignment {
    let subnet = net(subnet);
    let gateway = subnet.hosts().find(|a| *a != subnet.network()).unwrap();
    NetworkAssignment {
        network: Network {
            id,
            meta: Meta::default(),
            spec: NetworkSpec { name: name.to_owned(), ingress: name == "ingress", ..NetworkSpec::default() },
            subnets: vec![Subnet { subnet, gateway, range: None, last: None }],
            vni,
        },
        data_path_port: 4789,
        own: None,
        endpoints: BTreeMap::new(),
        services: BTreeMap::new(),
        peers: BTreeMap::from([(here(), ip("192.168.50.11")), (there(), ip("192.168.50.12"))]),
    }
}

pub(crate) fn endpoint(holder: &str, network: &NetworkId, address: &str, node: NodeId) -> NetworkEndpoint {
    let tunnel = if node == here() { ip("192.168.50.11") } else { ip("192.168.50.12") };
    NetworkEndpoint {
        addresses: vec![ip(address)],
        mac: Mac::of_endpoint(holder, network.as_str()),
        node,
        tunnel,
    }
}

fn add_endpoint(network: &mut NetworkAssignment, holder: &str, address: &str, node: NodeId) {
    let endpoint = endpoint(holder, &network.network.id, address, node);
    network.endpoints.insert(holder.to_owned(), endpoint);
}

pub(crate) fn on_network(task: &TaskId, name: &str, network: &NetworkAssignment) -> TaskOnNetwork {
    let endpoint = &network.endpoints[task.as_str()];
    TaskOnNetwork {
        name: name.to_owned(),
        container_name: format!("{name}.{task}"),
        addresses: endpoint.addresses.clone(),
        mac: endpoint.mac,
        node: endpoint.node.clone(),
        aliases: Vec::new(),
        weight: 1,
        connections: 0,
    }
}

pub(crate) fn port(published: u16, target: u16) -> PortConfig {
    PortConfig { published_port: published, target_port: target, ..PortConfig::default() }
}

pub(crate) fn attachment(network: NetworkId, address: &str) -> Attachment {
    Attachment { network, addresses: vec![net(address)], aliases: Vec::new() }
}

pub(crate) fn task(
    id: TaskId,
    service: ServiceId,
    name: &str,
    attachments: Vec<Attachment>,
) -> TaskAssignment {
    let container = ContainerSpec { image: "whoami:latest".to_owned(), ..ContainerSpec::default() };
    TaskAssignment {
        container_name: format!("{name}.1.{id}"),
        id,
        service,
        service_name: name.to_owned(),
        service_labels: Labels::new(),
        registry_auth: None,
        slot: 1,
        spec: TaskSpec { container_spec: Some(container), ..TaskSpec::default() },
        desired: TaskState::Running,
        known: TaskState::Assigned,
        attachments,
        host_ports: Vec::new(),
        start_after: Timestamp::default(),
        withdrawn: false,
    }
}

fn service(name: &str, vip: &str, ports: Vec<PortConfig>) -> ServiceOnNetwork {
    ServiceOnNetwork {
        name: name.to_owned(),
        labels: Labels::new(),
        vips: vec![ip(vip)],
        ports,
        tasks: BTreeMap::new(),
    }
}

fn ingress_assignment() -> NetworkAssignment {
    let mut network = network(ingress(), "ingress", "10.0.0.0/24", 4096);
    add_endpoint(&mut network, here().as_str(), "10.0.0.2", here());
    add_endpoint(&mut network, there().as_str(), "10.0.0.3", there());
    add_endpoint(&mut network, whoami_1().as_str(), "10.0.0.6", here());
    add_endpoint(&mut network, whoami_2().as_str(), "10.0.0.7", there());
    network.own = Some(NodeAttachment {
        addresses: vec![net("10.0.0.2/24")],
        mac: Mac::of_endpoint(here().as_str(), ingress().as_str()),
    });
    let mut whoami_here = service("whoami", "10.0.0.5", vec![port(8000, 80)]);
    whoami_here.tasks.insert(whoami_1(), on_network(&whoami_1(), "whoami.1", &network));
    whoami_here.tasks.insert(whoami_2(), on_network(&whoami_2(), "whoami.2", &network));
    network.services.insert(whoami(), whoami_here);
    network
}

fn my_demo_assignment() -> NetworkAssignment {
    let mut network = network(my_demo(), "my-demo", "10.0.1.0/24", 4097);
    add_endpoint(&mut network, whoami_1().as_str(), "10.0.1.6", here());
    add_endpoint(&mut network, whoami_2().as_str(), "10.0.1.7", there());
    add_endpoint(&mut network, client_1().as_str(), "10.0.1.3", here());
    let mut balanced = service("whoami", "10.0.1.5", Vec::new());
    balanced.tasks.insert(whoami_1(), on_network(&whoami_1(), "whoami.1", &network));
    balanced.tasks.insert(whoami_2(), on_network(&whoami_2(), "whoami.2", &network));
    let mut alone = service("client", "10.0.1.2", Vec::new());
    alone.tasks.insert(client_1(), on_network(&client_1(), "client.1", &network));
    network.services.extend([(whoami(), balanced), (client(), alone)]);
    network
}

pub(crate) fn assignment() -> Assignment {
    let published = vec![attachment(ingress(), "10.0.0.6/24"), attachment(my_demo(), "10.0.1.6/24")];
    let tasks = [
        task(whoami_1(), whoami(), "whoami", published),
        task(client_1(), client(), "client", vec![attachment(my_demo(), "10.0.1.3/24")]),
    ];
    Assignment {
        version: 7,
        tasks: tasks.into_iter().map(|task| (task.id.clone(), task)).collect(),
        networks: BTreeMap::from([(ingress(), ingress_assignment()), (my_demo(), my_demo_assignment())]),
        ..Assignment::default()
    }
}

/// The same swarm with IPv6 beside IPv4: `fd00:5::/64` on ingress and `fd00:6::/64` on `my-demo`, with the last number of
/// each IPv4 address.
pub(crate) fn dual_stack(mut assignment: Assignment) -> Assignment {
    let six = |address: IpAddr| -> IpAddr {
        let IpAddr::V4(v4) = address else { panic!("{address} is no IPv4 address") };
        let [_, _, network, host] = v4.octets();
        ip(&format!("fd00:{}::{host:x}", 5 + network))
    };
    let net_six = |net: IpNet| IpNet::new(six(net.addr()), 64).unwrap();
    for network in assignment.networks.values_mut() {
        network.network.spec.enable_ipv6 = true;
        let v4 = network.network.subnets[0].clone();
        let subnet = Subnet { subnet: net_six(v4.subnet).trunc(), gateway: six(v4.gateway), ..v4 };
        network.network.subnets.push(subnet);
        network.own.iter_mut().for_each(|own| own.addresses.push(net_six(own.addresses[0])));
        network.endpoints.values_mut().for_each(|e| e.addresses.push(six(e.addresses[0])));
        for service in network.services.values_mut() {
            service.vips.extend(service.vips.clone().into_iter().map(six));
            service.tasks.values_mut().for_each(|task| task.addresses.push(six(task.addresses[0])));
        }
    }
    for attachment in assignment.tasks.values_mut().flat_map(|task| &mut task.attachments) {
        attachment.addresses.push(net_six(attachment.addresses[0]));
    }
    assignment
}

pub(crate) fn container(task: &TaskId, state: ContainerState) -> ObservedContainer {
    ObservedContainer {
        id: shoal_agent::names::container_id(task),
        state,
        health: None,
        stopping_since: None,
    }
}

pub(crate) fn running(task: &TaskId) -> ObservedContainer {
    container(task, ContainerState::Running { pid: 42, started_at: Timestamp(NOW.0 - 5_000_000_000) })
}

pub(crate) fn exited(task: &TaskId, code: i32) -> ObservedContainer {
    let finished_at = Timestamp(NOW.0 - 1_000_000_000);
    container(task, ContainerState::Exited { code, finished_at, out_of_memory: false })
}

/// The image is there and every task of the assignment runs.
pub(crate) fn all_running(assignment: &Assignment) -> Observed {
    Observed {
        containers: assignment.tasks.keys().map(|id| (id.clone(), running(id))).collect(),
        images: BTreeMap::from([("whoami:latest".to_owned(), ImageState::Present)]),
        failures: BTreeMap::new(),
        draining: BTreeMap::new(),
    }
}
