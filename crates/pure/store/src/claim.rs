//! What may be held once only: names, published ports, addresses, VNIs. One map says who holds what, so that a second
//! holder is found wherever it comes from.

use crate::{Kind, Object};
use shoal_model::spec::{PortConfig, Protocol, PublishMode};
use shoal_model::{Network, NetworkId, Node, Service, Task};
use std::net::IpAddr;

/// Something that one object at a time may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A name among objects of a kind.
    Name(Kind, String),
    /// A VXLAN network identifier.
    Vni(u32),
    /// A port published by the routing mesh.
    Port(Protocol, u16),
    /// An address on a network.
    Address(NetworkId, IpAddr),
    /// A manager's number in the consensus group.
    RaftId(u64),
}

/// Everything that `object` holds, sorted and without repetition.
pub(crate) fn claims_of(object: &Object) -> Vec<Claim> {
    let mut claims = match object {
        Object::Cluster(_) => Vec::new(),
        Object::Node(node) => of_node(node),
        Object::Service(service) => of_service(service),
        Object::Task(task) => of_task(task),
        Object::Network(network) => of_network(network),
        Object::Secret(secret) => vec![Claim::Name(Kind::Secret, secret.spec.name.clone())],
        Object::Config(config) => vec![Claim::Name(Kind::Config, config.spec.name.clone())],
    };
    claims.sort_unstable();
    claims.dedup();
    claims
}

fn of_node(node: &Node) -> Vec<Claim> {
    let addresses = node.attachments.iter().flat_map(|(network, own)| {
        own.addresses.iter().map(|net| Claim::Address(network.clone(), net.addr()))
    });
    addresses.chain(node.raft_id.map(Claim::RaftId)).collect()
}

fn of_service(service: &Service) -> Vec<Claim> {
    let mut claims = vec![Claim::Name(Kind::Service, service.spec.name.clone())];
    // A port that was asked for is held from the moment of asking, one that is being given up until it has been.
    let asked = service.spec.endpoint_spec.iter().flat_map(|spec| &spec.ports);
    claims.extend(asked.chain(&service.endpoint.ports).filter_map(mesh_port));
    let vips = &service.endpoint.virtual_ips;
    claims.extend(vips.iter().map(|vip| Claim::Address(vip.network.clone(), vip.address.addr())));
    claims
}

fn mesh_port(port: &PortConfig) -> Option<Claim> {
    (port.mode() == PublishMode::Ingress && port.published_port != 0)
        .then(|| Claim::Port(port.transport(), port.published_port))
}

/// A task that has ended no longer holds its addresses: it only remembers them.
fn of_task(task: &Task) -> Vec<Claim> {
    if task.status.state.is_terminal() {
        return Vec::new();
    }
    let attachments = task.attachments.iter();
    attachments
        .flat_map(|a| a.addresses.iter().map(|net| Claim::Address(a.network.clone(), net.addr())))
        .collect()
}

fn of_network(network: &Network) -> Vec<Claim> {
    let mut claims = vec![Claim::Name(Kind::Network, network.spec.name.clone())];
    if network.vni != 0 {
        claims.push(Claim::Vni(network.vni));
    }
    claims.extend(network.subnets.iter().map(|s| Claim::Address(network.id.clone(), s.gateway)));
    claims
}
