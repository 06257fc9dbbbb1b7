//! A task's sandbox: its links in the article's order, the virtual addresses of its service, its ways out.

use super::bridge::{self, Bridge, Outside};
use super::pair::{Pair, loopback};
use super::{host_prefix, overlay, sysctls, ways_back};
use crate::{LocalFacts, names};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shoal_model::assignment::{NetworkAssignment, TaskAssignment};
use shoal_model::netns::{MAIN_TABLE, NamespaceName, Namespaces, Route, Rule};
use shoal_model::task::Attachment;
use shoal_model::{Assignment, Mac};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Table (and priority of the rule) for answers to clients of published ports, which leave by the ingress network.
const INGRESS_TABLE: u32 = 100;

/// One link of a sandbox.
enum Interface<'a> {
    Network(&'a NetworkAssignment, &'a Attachment),
    Outside(Outside),
}

/// Whether all networks of the task are known here, with their addresses.
pub(super) fn networks_known(task: &TaskAssignment, assignment: &Assignment) -> bool {
    task.attachments.iter().all(|attachment| {
        let network = assignment.networks.get(&attachment.network);
        network.is_some_and(|n| n.network.is_allocated()) && !attachment.addresses.is_empty()
    })
}

/// Whether anything beyond the task's own networks can be reached from its sandbox.
pub(crate) fn has_way_out(task: &TaskAssignment, assignment: &Assignment) -> bool {
    way_out(task, assignment).is_some()
}

/// The bridge that leads out of the task's sandbox: none if it is on internal networks only and publishes nothing.
pub(super) fn way_out(task: &TaskAssignment, assignment: &Assignment) -> Option<Bridge> {
    if task.attachments.is_empty() {
        return Some(Bridge::Default);
    }
    let networks = task.attachments.iter().filter_map(|a| assignment.networks.get(&a.network));
    let open = networks.into_iter().any(|n| !n.network.spec.internal);
    (open || !task.host_ports.is_empty()).then_some(Bridge::Gateway)
}

/// Declares a task's sandbox and the other ends of its links.
pub(super) fn add(
    declared: &mut Namespaces,
    task: &TaskAssignment,
    assignment: &Assignment,
    outside: Option<&Outside>,
    facts: &LocalFacts,
) {
    if outside.is_none() && has_way_out(task, assignment) {
        // The bridge's subnet is full. Without its way out the sandbox would not be what was asked for.
        return;
    }
    let name = names::sandbox(&task.id);
    declared
        .entry(name.clone())
        .or_default()
        .links
        .insert(names::LOOPBACK.to_owned(), own_loopback(task, assignment));
    for (n, interface) in interfaces(task, assignment, outside).iter().enumerate() {
        let link = names::sandbox_link(n);
        match interface {
            Interface::Network(network, attachment) => {
                join_network(declared, task, network, attachment, (&name, &link), facts);
            }
            Interface::Outside(place) => join_bridge(declared, task, *place, (&name, &link), facts),
        }
    }
    let by_user = task.spec.container().sysctls.clone();
    sysctls::task(declared.entry(name).or_default(), |parameter| by_user.contains_key(parameter));
}

/// The links in their order: ingress, the way out, the other networks; without ingress, the way out comes last.
fn interfaces<'a>(
    task: &'a TaskAssignment,
    assignment: &'a Assignment,
    outside: Option<&Outside>,
) -> Vec<Interface<'a>> {
    let known = task.attachments.iter().filter_map(|a| Some((assignment.networks.get(&a.network)?, a)));
    let (ingress, others): (Vec<_>, Vec<_>) = known.partition(|(network, _)| network.network.spec.ingress);
    let as_interface = |(network, attachment)| Interface::Network(network, attachment);
    let mut all: Vec<Interface<'a>> = Vec::new();
    let way_out_first = !ingress.is_empty();
    all.extend(ingress.into_iter().map(as_interface));
    let mut rest: Vec<Interface<'a>> = others.into_iter().map(as_interface).collect();
    let position = if way_out_first { 0 } else { rest.len() };
    if let Some(place) = outside {
        rest.insert(position, Interface::Outside(*place));
    }
    all.extend(rest);
    all
}

/// `lo` with the virtual addresses of the task's own service.
fn own_loopback(task: &TaskAssignment, assignment: &Assignment) -> shoal_model::netns::Link {
    let networks = task.attachments.iter().filter_map(|a| assignment.networks.get(&a.network));
    let vips = networks.filter_map(|n| n.services.get(&task.service)).flat_map(|service| &service.vips);
    loopback(vips.filter_map(|vip| IpNet::new(*vip, host_prefix(*vip)).ok()).collect())
}

fn join_network(
    declared: &mut Namespaces,
    task: &TaskAssignment,
    network: &NetworkAssignment,
    attachment: &Attachment,
    (sandbox, link): (&NamespaceName, &str),
    facts: &LocalFacts,
) {
    let id = network.network.id.as_str();
    Pair {
        sandbox,
        link,
        mac: Some(mac(task, network)),
        addresses: attachment.addresses.iter().copied().collect(),
        mtu: overlay::mtu(network, facts),
        outside: &overlay::namespace(network),
        port: &names::veth(task.id.as_str(), id),
        bridge: names::OVERLAY_BRIDGE,
    }
    .add_to(declared);
    if network.network.spec.ingress {
        answer_by_ingress(declared, network, attachment, (sandbox, link));
        if facts.steers_by_mark {
            ways_back::add(declared.entry(sandbox.clone()).or_default(), network, link);
        }
    }
}

/// The task's Ethernet address on a network: what the other nodes were told, or what they will be told.
pub(crate) fn mac(task: &TaskAssignment, network: &NetworkAssignment) -> Mac {
    let told = network.endpoints.get(task.id.as_str()).map(|endpoint| endpoint.mac);
    told.unwrap_or_else(|| Mac::of_endpoint(task.id.as_str(), network.network.id.as_str()))
}

/// Answers from the ingress address leave by the ingress link, wherever the client is; within the ingress subnet
/// directly, else by way of the gateway.
fn answer_by_ingress(
    declared: &mut Namespaces,
    network: &NetworkAssignment,
    attachment: &Attachment,
    (sandbox, link): (&NamespaceName, &str),
) {
    let namespace = declared.entry(sandbox.clone()).or_default();
    for address in &attachment.addresses {
        let Some(subnet) = network.network.subnets.iter().find(|s| s.subnet.contains(&address.addr())) else {
            continue;
        };
        if let Ok(from) = IpNet::new(address.addr(), host_prefix(address.addr())) {
            namespace.rules.insert(Rule { from, mark: None, table: INGRESS_TABLE, priority: INGRESS_TABLE });
        }
        let within = Route {
            destination: subnet.subnet.trunc(),
            via: None,
            link: link.to_owned(),
            source: None,
            table: INGRESS_TABLE,
        };
        for route in [within, default_route(subnet.gateway, link, INGRESS_TABLE)] {
            // A second subnet of the same family has the same default; the kernel keeps one route a destination.
            if !namespace.routes.iter().any(|r| (r.destination, r.table) == (route.destination, route.table))
            {
                namespace.routes.insert(route);
            }
        }
    }
}

fn join_bridge(
    declared: &mut Namespaces,
    task: &TaskAssignment,
    place: Outside,
    (sandbox, link): (&NamespaceName, &str),
    facts: &LocalFacts,
) {
    Pair {
        sandbox,
        link,
        mac: Some(bridge::mac(place.address, place.bridge.name())),
        addresses: BTreeSet::from([place.address]),
        mtu: bridge::mtu(facts),
        outside: &NamespaceName::Host,
        port: &names::veth(task.id.as_str(), place.bridge.name()),
        bridge: place.bridge.name(),
    }
    .add_to(declared);
    if let Some(gateway) = place.bridge.address(facts) {
        let route = default_route(gateway.addr(), link, MAIN_TABLE);
        declared.entry(sandbox.clone()).or_default().routes.insert(route);
    }
}

/// The default route of the gateway's family.
pub(super) fn default_route(gateway: IpAddr, link: &str, table: u32) -> Route {
    let everywhere: IpNet =
        if gateway.is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() };
    Route { destination: everywhere, via: Some(gateway), link: link.to_owned(), source: None, table }
}
