//! What the node knows of itself, read from its own namespace on every pass.

use crate::engine::Engine;
use crate::node_loop::Identity;
use anyhow::Context;
use ipnet::IpNet;
use shoal_agent::LocalFacts;
use shoal_agent::names::{DEFAULT_BRIDGE, GATEWAY_BRIDGE};
use shoal_host::Interface;
use shoal_model::netns::{NamespaceName, Namespaces};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Subnets that the bridges may take, in the order in which Docker tries them.
fn candidates() -> impl Iterator<Item = IpNet> {
    let wide = (17..=31).map(|n| format!("172.{n}.0.0/16"));
    let narrow = (0..=15).map(|n| format!("192.168.{}.0/20", n * 16));
    wide.chain(narrow).filter_map(|text| text.parse().ok())
}

/// Reads the facts.
pub(crate) fn observe(
    engine: &Engine,
    identity: &Identity,
    namespaces: &Namespaces,
) -> anyhow::Result<LocalFacts> {
    let seen = engine.host.facts().context("reading the host's links and routes")?;
    let uplinks: Vec<_> = seen.interfaces.iter().filter(|i| i.up && !i.loopback).collect();
    let own = |namespaces: &Namespaces, bridge: &str| -> Option<IpNet> {
        let link = namespaces.get(&NamespaceName::Host)?.links.get(bridge)?;
        link.addresses.iter().find(|a| a.addr().is_ipv4()).map(IpNet::trunc)
    };
    let taken: Vec<IpNet> = seen.routes.iter().copied().collect();
    let bridge_subnet = own(namespaces, DEFAULT_BRIDGE).or_else(|| free_subnet(&taken));
    let bridge_subnet = bridge_subnet.context("no free subnet for docker0")?;
    let taken: Vec<IpNet> = taken.into_iter().chain([bridge_subnet]).collect();
    let gateway_subnet = own(namespaces, GATEWAY_BRIDGE).or_else(|| free_subnet(&taken));
    let gateway_subnet = gateway_subnet.context("no free subnet for docker_gwbridge")?;
    let first_host = |subnet: IpNet| subnet.hosts().next();
    let mut node_addresses: BTreeSet<IpAddr> =
        uplinks.iter().flat_map(|i| &i.addresses).map(IpNet::addr).filter(|a| !is_link_local(*a)).collect();
    node_addresses.extend(first_host(gateway_subnet).into_iter().chain(first_host(bridge_subnet)));
    let path = uplinks.iter().find(|i| i.addresses.iter().any(|a| a.addr() == identity.data_path));
    Ok(LocalFacts {
        node: identity.node.clone(),
        hostname: engine.machine.hostname.clone(),
        uplinks: uplinks.iter().map(|i| i.name.clone()).collect(),
        link_addresses: seen
            .interfaces
            .iter()
            .map(|i| (i.name.clone(), i.addresses.iter().map(IpNet::addr).collect()))
            .collect(),
        node_addresses,
        advertise: identity.data_path,
        path_mtu: path.map_or(1500, |i| i.mtu),
        gateway_subnet,
        bridge_subnet,
        steers_by_mark: engine.balancer.steers_by_mark(),
        host_source: identity.address,
        host_source_beside: beside(identity.address, &uplinks),
    })
}

/// An address of the node of the other family than `address`, of the same link if there is one.
fn beside(address: IpAddr, uplinks: &[&Interface]) -> Option<IpAddr> {
    let has = |uplink: &&Interface| uplink.addresses.iter().any(|net| net.addr() == address);
    let (same, others): (Vec<&Interface>, Vec<&Interface>) = uplinks.iter().copied().partition(has);
    let addresses = same.into_iter().chain(others).flat_map(|uplink| &uplink.addresses).map(IpNet::addr);
    addresses.into_iter().find(|a| a.is_ipv4() != address.is_ipv4() && !is_link_local(*a))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The first candidate that overlaps nothing the host has a route to.
fn free_subnet(taken: &[IpNet]) -> Option<IpNet> {
    let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    candidates().find(|candidate| !taken.iter().any(|route| overlaps(route, candidate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_beside_is_of_the_other_family_and_reaches_beyond_the_link() {
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            ifindex: 1,
            mtu: 1500,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            up: true,
            loopback: false,
            has_default_route: false,
        };
        let other = interface("eth0", &["10.9.0.1/24", "fd00:9::1/64"]);
        let own = interface("eth1", &["192.168.50.11/24", "fe80::1/64", "fd00:50::11/64"]);
        let plain = interface("eth2", &["192.168.60.11/24"]);
        let beside = |address: &str, of: &[&Interface]| beside(address.parse().unwrap(), of);
        assert_eq!(beside("192.168.50.11", &[&other, &own]), Some("fd00:50::11".parse().unwrap()));
        assert_eq!(beside("fd00:50::11", &[&other, &own]), Some("192.168.50.11".parse().unwrap()));
        assert_eq!(beside("192.168.60.11", &[&plain, &other]), Some("fd00:9::1".parse().unwrap()));
        assert_eq!(beside("192.168.60.11", &[&plain]), None);
    }

    #[test]
    fn bridges_avoid_what_the_host_routes() {
        assert_eq!(free_subnet(&[]).unwrap().to_string(), "172.17.0.0/16");
        let taken = ["172.16.0.0/14".parse().unwrap(), "172.20.5.0/24".parse().unwrap()];
        assert_eq!(free_subnet(&taken).unwrap().to_string(), "172.21.0.0/16");
    }
}
