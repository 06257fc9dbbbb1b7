//! What the balancer holds: the virtual services of the node's networks with their rings, and where the routing mesh
//! hooks in.

use crate::task::life;
use crate::{LocalFacts, balance, names, network};
use ipnet::IpNet;
use shoal_model::assignment::{NetworkAssignment, ServiceOnNetwork, TaskAssignment, TaskOnNetwork};
use shoal_model::balancing::Balancing;
use shoal_model::lvs::{
    Access, Mesh, MeshTask, PortMapping, RealServer, Table, VirtualService, VirtualServiceKey,
};
use shoal_model::netns::{NamespaceName, Namespaces};
use shoal_model::publishing::Publishing;
use shoal_model::spec::{PortConfig, PublishMode};
use shoal_model::{Assignment, NetworkId, Observed, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// What the node's virtual server holds.
///
/// Every virtual address of the node's networks is a service for the connections of its sandboxes, every published
/// port is one for the routing mesh. A local task whose container does not serve has weight 0 at once, before the
/// managers know. Sandboxes and mesh are those declared: to be applied when the namespaces are.
pub fn table(
    assignment: &Assignment,
    observed: &Observed,
    declared: &Namespaces,
    facts: &LocalFacts,
) -> Table {
    let mut services = BTreeMap::new();
    for network in assignment.networks.values() {
        for service in network.services.values() {
            add_service(&mut services, network, service, observed, facts);
        }
    }
    Table { services, sandboxes: sandboxes(assignment, declared), mesh: mesh(assignment, declared, facts) }
}

fn add_service(
    services: &mut BTreeMap<VirtualServiceKey, VirtualService>,
    network: &NetworkAssignment,
    service: &ServiceOnNetwork,
    observed: &Observed,
    facts: &LocalFacts,
) {
    let servers = |port: u16, places: &dyn Fn(&TaskOnNetwork) -> Option<Place>| -> Vec<RealServer> {
        let placed = service.tasks.iter().filter_map(|(id, task)| Some((id, task, places(task)?)));
        placed.map(|(id, task, place)| real_server(id, task, place, port, observed, facts)).collect()
    };
    if network.network.spec.ingress {
        for port in ingress_ports(service) {
            let key = VirtualServiceKey::Ingress { protocol: port.transport(), port: port.published_port };
            let access = Publishing::of_admitted(&service.labels).access(
                port.transport(),
                port.published_port,
                &facts.link_addresses,
            );
            let published =
                virtual_service(service, servers(port.target_port, &|task| place(&task.addresses)));
            services.insert(key, VirtualService { access, ..published });
        }
        return;
    }
    for vip in &service.vips {
        let of_family = |task: &TaskOnNetwork| {
            let mut own = task.addresses.iter().filter(|address| address.is_ipv4() == vip.is_ipv4());
            own.next().map(|address| (*address, None))
        };
        let key = VirtualServiceKey::EastWest { network: network.network.id.clone(), vip: *vip };
        services.insert(key, virtual_service(service, servers(0, &of_family)));
    }
}

/// Where a real server is: its address, and the IPv6 one beside an IPv4 one.
type Place = (IpAddr, Option<Ipv6Addr>);

/// The IPv4 address and the IPv6 one beside it; the IPv6 one alone where there is no other. `None` without any.
fn place(addresses: &[IpAddr]) -> Option<Place> {
    let v4 = addresses.iter().find(|address| address.is_ipv4());
    let v6 = addresses.iter().find_map(|address| match address {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    });
    match (v4, v6) {
        (Some(v4), beside) => Some((*v4, beside)),
        (None, alone) => alone.map(|v6| (IpAddr::V6(v6), None)),
    }
}

/// The ports that the routing mesh publishes for the service.
fn ingress_ports(service: &ServiceOnNetwork) -> impl Iterator<Item = &PortConfig> {
    service.ports.iter().filter(|port| port.mode() == PublishMode::Ingress && port.published_port != 0)
}

fn virtual_service(service: &ServiceOnNetwork, real_servers: Vec<RealServer>) -> VirtualService {
    let balancing = Balancing::of_admitted(&service.labels);
    // By what the managers say, so that every node names the same scheduler.
    let scheduler = balancing.scheduler(service.tasks.values().map(|task| task.weight));
    let connections = service.tasks.iter().map(|(id, task)| (id.clone(), task.connections)).collect();
    let ring = balance::ring(scheduler, &real_servers, &connections);
    VirtualService {
        name: service.name.clone(),
        scheduler,
        affinity: balancing.affinity,
        access: Access::default(),
        real_servers,
        ring,
    }
}

fn real_server(
    id: &TaskId,
    task: &TaskOnNetwork,
    (address, address6): Place,
    port: u16,
    observed: &Observed,
    facts: &LocalFacts,
) -> RealServer {
    let out_of_order = task.node == facts.node && !life::is_serving(id, observed);
    RealServer {
        task: id.clone(),
        address,
        address6,
        mac: task.mac,
        port,
        weight: if out_of_order { 0 } else { task.weight },
    }
}

/// The declared sandboxes with their networks, ingress apart: its virtual addresses are balanced by port. A sandbox
/// without any is among them, too: its connections to the node's own published ports are balanced.
fn sandboxes(assignment: &Assignment, declared: &Namespaces) -> BTreeMap<NamespaceName, BTreeSet<NetworkId>> {
    let balanced = |id: &&NetworkId| assignment.networks.get(*id).is_some_and(|n| !n.network.spec.ingress);
    let on_networks = assignment.tasks.values().map(|task| {
        let networks = task.attachments.iter().map(|a| &a.network).filter(balanced).cloned().collect();
        (names::sandbox(&task.id), networks)
    });
    on_networks.filter(|(name, _): &(_, BTreeSet<_>)| declared.contains_key(name)).collect()
}

/// Where the routing mesh hooks in, once the ingress sandbox is declared.
fn mesh(assignment: &Assignment, declared: &Namespaces, facts: &LocalFacts) -> Option<Mesh> {
    let network = network::ingress_network(assignment)?;
    let own = network.own.as_ref()?;
    let sandbox = NamespaceName::ingress_sandbox();
    declared.get(&sandbox)?;
    let local = assignment.tasks.values().filter(|task| declared.contains_key(&names::sandbox(&task.id)));
    Some(Mesh {
        node_addresses: facts.node_addresses.clone(),
        own_address: facts.host_source,
        uplinks: facts.uplinks.clone(),
        sandbox,
        sandbox_ingress_link: names::SANDBOX_INGRESS_LINK.to_owned(),
        sandbox_ingress_mac: own.mac,
        sandbox_gateway_link: names::SANDBOX_GATEWAY_LINK.to_owned(),
        host_gateway_port: network::ingress_host_port(),
        overlay: network::overlay_namespace(network),
        entries: network::entries(network),
        tasks: local.filter_map(|task| Some((task.id.clone(), mesh_task(task, network)?))).collect(),
    })
}

/// A local task on the ingress network. Its ports stay while it drains, for the connections that it still has.
fn mesh_task(task: &TaskAssignment, network: &NetworkAssignment) -> Option<MeshTask> {
    let id = &network.network.id;
    let attachment = task.attachments.iter().find(|a| a.network == *id)?;
    let addresses: Vec<IpAddr> = attachment.addresses.iter().map(IpNet::addr).collect();
    let (address, address6) = place(&addresses)?;
    let ports = network.services.get(&task.service).into_iter().flat_map(ingress_ports);
    Some(MeshTask {
        sandbox: names::sandbox(&task.id),
        port_link: names::veth(task.id.as_str(), id.as_str()),
        address,
        address6,
        mac: network::task_mac(task, network),
        ports: ports
            .map(|p| PortMapping {
                protocol: p.transport(),
                published: p.published_port,
                target: p.target_port,
            })
            .collect(),
    })
}
