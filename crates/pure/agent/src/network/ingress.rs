//! The ingress sandbox: where the routing mesh comes from the host's network to the ingress network.

use super::bridge::{self, Bridge};
use super::overlay;
use super::pair::{Pair, loopback};
use super::sysctls;
use crate::{LocalFacts, names};
use ipnet::IpNet;
use shoal_model::assignment::NetworkAssignment;
use shoal_model::netns::{FirewallRule, MAIN_TABLE, NamespaceName, Namespaces, Route};
use std::collections::BTreeSet;

/// Declares the ingress sandbox, once the node has its endpoint, and the host's way to the ingress network through it.
pub(super) fn add(declared: &mut Namespaces, network: &NetworkAssignment, facts: &LocalFacts) {
    let Some(own) = &network.own else { return };
    let sandbox = NamespaceName::ingress_sandbox();
    let overlay = overlay::namespace(network);
    let mut addresses: BTreeSet<IpNet> = overlay::virtual_addresses(network).collect();
    addresses.extend(&own.addresses);
    Pair {
        sandbox: &sandbox,
        link: names::SANDBOX_INGRESS_LINK,
        mac: Some(own.mac),
        addresses,
        mtu: overlay::mtu(network, facts),
        outside: &overlay,
        port: &names::veth(facts.node.as_str(), network.network.id.as_str()),
        bridge: names::OVERLAY_BRIDGE,
    }
    .add_to(declared);
    if let Some(address) = bridge::ingress_address(facts) {
        Pair {
            sandbox: &sandbox,
            link: names::SANDBOX_GATEWAY_LINK,
            mac: Some(bridge::mac(address, names::GATEWAY_BRIDGE)),
            addresses: BTreeSet::from([address]),
            mtu: bridge::mtu(facts),
            outside: &NamespaceName::Host,
            port: &host_port(),
            bridge: names::GATEWAY_BRIDGE,
        }
        .add_to(declared);
        if let Some(gateway) = Bridge::Gateway.address(facts) {
            add_routes(declared, network, (gateway, address), facts);
        }
        let has_ipv6 = network.network.subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6());
        if let Some(hop) = bridge::ingress_ipv6_hop(facts).filter(|_| has_ipv6) {
            add_ipv6_hop(declared, hop);
            add_routes(declared, network, hop, facts);
        }
    }
    let namespace = declared.entry(sandbox).or_default();
    namespace.links.insert(names::LOOPBACK.to_owned(), loopback(BTreeSet::new()));
    // Containers of this host that ask for its published ports come with addresses that every host has: on the ingress
    // network they take the sandbox's own.
    namespace.firewall.extend(
        [facts.gateway_subnet, facts.bridge_subnet].map(|source| FirewallRule::Masquerade {
            source,
            bridge: names::SANDBOX_GATEWAY_LINK.to_owned(),
        }),
    );
    sysctls::ingress(namespace);
}

/// The host's end of the ingress sandbox's link on `docker_gwbridge`.
pub(crate) fn host_port() -> String {
    names::veth(shoal_model::netns::INGRESS_SANDBOX, names::GATEWAY_BRIDGE)
}

/// Gives both ends of the link on `docker_gwbridge` their IPv6 addresses.
fn add_ipv6_hop(declared: &mut Namespaces, (gateway, own): (IpNet, IpNet)) {
    let ends = [
        (NamespaceName::Host, names::GATEWAY_BRIDGE, gateway),
        (NamespaceName::ingress_sandbox(), names::SANDBOX_GATEWAY_LINK, own),
    ];
    for (namespace, link, address) in ends {
        let link = declared.get_mut(&namespace).and_then(|namespace| namespace.links.get_mut(link));
        if let Some(link) = link {
            link.addresses.insert(address);
        }
    }
}

/// The way out of the sandbox, and the host's way in: by it the node's own processes reach the tasks behind published
/// ports, from an address that the tasks' nodes can answer.
fn add_routes(
    declared: &mut Namespaces,
    network: &NetworkAssignment,
    (gateway, own): (IpNet, IpNet),
    facts: &LocalFacts,
) {
    let route = super::sandbox::default_route(gateway.addr(), names::SANDBOX_GATEWAY_LINK, MAIN_TABLE);
    declared.entry(NamespaceName::ingress_sandbox()).or_default().routes.insert(route);
    let ipv4 = own.addr().is_ipv4();
    let same_family = network.network.subnets.iter().filter(|s| s.subnet.addr().is_ipv4() == ipv4);
    let routes = same_family.map(|subnet| Route {
        destination: subnet.subnet.trunc(),
        via: Some(own.addr()),
        link: names::GATEWAY_BRIDGE.to_owned(),
        source: facts.source(ipv4),
        table: MAIN_TABLE,
    });
    declared.entry(NamespaceName::Host).or_default().routes.extend(routes);
}
