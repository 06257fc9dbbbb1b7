//! An overlay network's namespace on this node: the bridge, the tunnel, and where every other node's endpoints are.

use super::pair::loopback;
use super::{host_prefix, sysctls};
use crate::{LocalFacts, names};
use ipnet::IpNet;
use shoal_model::Mac;
use shoal_model::assignment::{NetworkAssignment, NetworkEndpoint};
use shoal_model::netns::{Forwarding, Link, LinkKind, Namespace, NamespaceName, Neighbour};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Bytes that VXLAN adds over IPv4: inner Ethernet 14, VXLAN 8, UDP 8, IP 20 (RFC 7348).
const OVERHEAD_IPV4: u32 = 50;
/// The same over IPv6, whose header has 40 bytes.
const OVERHEAD_IPV6: u32 = 70;
/// Docker's network option for the packet size.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// The name of the network's namespace.
pub(crate) fn namespace(network: &NetworkAssignment) -> NamespaceName {
    NamespaceName::Named(network.network.namespace_name())
}

/// Largest packet in bytes on the network: what fits through the tunnel, or less if the user said so.
pub(super) fn mtu(network: &NetworkAssignment, facts: &LocalFacts) -> u32 {
    let overhead = if facts.advertise.is_ipv4() { OVERHEAD_IPV4 } else { OVERHEAD_IPV6 };
    let fits = facts.path_mtu.saturating_sub(overhead);
    let asked = network.network.spec.options.get(MTU_OPTION).and_then(|text| text.parse().ok());
    asked.filter(|mtu| *mtu != 0).map_or(fits, |mtu: u32| mtu.min(fits))
}

/// The namespace without the local endpoints' ports.
pub(super) fn base(network: &NetworkAssignment, facts: &LocalFacts) -> Namespace {
    let mut namespace = Namespace::default();
    let mtu = mtu(network, facts);
    let bridge = Link {
        kind: LinkKind::Bridge,
        // Fixed, since it is the tasks' gateway; and this node's own, since it is seen on other nodes' bridges.
        mac: Some(Mac::of_endpoint(
            &format!("{}/{}", facts.node, names::OVERLAY_BRIDGE),
            network.network.id.as_str(),
        )),
        mtu,
        master: None,
        addresses: bridge_addresses(network),
        up: true,
    };
    let tunnel = Link {
        kind: LinkKind::Vxlan {
            vni: network.network.vni,
            port: network.data_path_port,
            local: facts.advertise,
        },
        mac: None,
        mtu,
        master: Some(names::OVERLAY_BRIDGE.to_owned()),
        addresses: BTreeSet::new(),
        up: true,
    };
    namespace.links.insert(names::LOOPBACK.to_owned(), loopback(BTreeSet::new()));
    namespace.links.insert(names::OVERLAY_BRIDGE.to_owned(), bridge);
    namespace.links.insert(names::OVERLAY_VXLAN.to_owned(), tunnel);
    add_remote_endpoints(&mut namespace, network, facts);
    sysctls::overlay(&mut namespace);
    namespace
}

/// The gateways, and the virtual addresses of the network's services: a connection to one is balanced before it leaves
/// the sandbox, but a ping has to be answered by somebody on this node. (On ingress the ingress sandbox holds them.)
fn bridge_addresses(network: &NetworkAssignment) -> BTreeSet<IpNet> {
    let subnets = network.network.subnets.iter();
    let mut addresses: BTreeSet<IpNet> =
        subnets.filter_map(|s| IpNet::new(s.gateway, s.subnet.prefix_len()).ok()).collect();
    if !network.network.spec.ingress {
        addresses.extend(virtual_addresses(network));
    }
    addresses
}

/// The virtual addresses of all services on the network.
pub(super) fn virtual_addresses(network: &NetworkAssignment) -> impl Iterator<Item = IpNet> {
    let vips = network.services.values().flat_map(|service| &service.vips);
    vips.filter_map(|vip| IpNet::new(*vip, host_prefix(*vip)).ok())
}

/// Declares where the other nodes' endpoints are. The kernel keeps one entry an address; should the managers ever say
/// two things of one, the first by holder counts, so that the comparison comes to rest.
fn add_remote_endpoints(namespace: &mut Namespace, network: &NetworkAssignment, facts: &LocalFacts) {
    let (local, remote): (Vec<_>, Vec<_>) =
        network.endpoints.values().partition(|e: &&NetworkEndpoint| e.node == facts.node);
    let own: BTreeSet<IpAddr> = local.iter().flat_map(|e| e.addresses.iter().copied()).collect();
    let mut neighbours: BTreeMap<IpAddr, Mac> = BTreeMap::new();
    let mut tunnels: BTreeMap<Mac, IpAddr> = BTreeMap::new();
    for endpoint in remote {
        let theirs = endpoint.addresses.iter().filter(|address| !own.contains(*address));
        for address in theirs {
            neighbours.entry(*address).or_insert(endpoint.mac);
            tunnels.entry(endpoint.mac).or_insert(endpoint.tunnel);
        }
    }
    let link = || names::OVERLAY_VXLAN.to_owned();
    namespace.neighbours =
        neighbours.into_iter().map(|(address, mac)| Neighbour { link: link(), address, mac }).collect();
    namespace.forwarding =
        tunnels.into_iter().map(|(mac, tunnel)| Forwarding { link: link(), mac, tunnel }).collect();
}
