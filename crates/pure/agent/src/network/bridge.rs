//! The node's two bridges to the outside and the addresses on them. They are the node's own affair: each node has the
//! same subnets, and no manager hands these addresses out.

use super::OutsideAddresses;
use super::sandbox::way_out;
use crate::{LocalFacts, names};
use ipnet::{IpNet, Ipv6Net};
use shoal_model::assignment::TaskAssignment;
use shoal_model::netns::{LinkKind, NamespaceName, Namespaces};
use shoal_model::{Assignment, Mac, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ethernet's usual packet size: what lies behind the node's default route need not carry more.
const MTU_MAX: u32 = 1500;
/// Number in its subnet of the bridge's own address.
const BRIDGE_NUMBER: u32 = 1;
/// Number in its subnet of the ingress sandbox's address on `docker_gwbridge`.
const INGRESS_NUMBER: u32 = 2;
/// Subnet of the IPv6 hop on `docker_gwbridge`, a unique local one (RFC 4193) that never leaves the node; its digits spell
/// the program's name.
const INGRESS_HOP: Ipv6Addr = Ipv6Addr::new(0xfd53, 0x686f, 0x616c, 0, 0, 0, 0, 0);
const INGRESS_HOP_PREFIX: u8 = 64;

/// One of the two bridges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bridge {
    /// `docker_gwbridge`, for sandboxes on networks of the swarm.
    Gateway,
    /// `docker0`, for sandboxes on none.
    Default,
}

impl Bridge {
    pub(super) const ALL: [Self; 2] = [Self::Gateway, Self::Default];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gateway => names::GATEWAY_BRIDGE,
            Self::Default => names::DEFAULT_BRIDGE,
        }
    }

    pub(super) fn subnet(self, facts: &LocalFacts) -> IpNet {
        match self {
            Self::Gateway => facts.gateway_subnet.trunc(),
            Self::Default => facts.bridge_subnet.trunc(),
        }
    }

    /// The bridge's own address, which is the sandboxes' gateway.
    pub(super) fn address(self, facts: &LocalFacts) -> Option<IpNet> {
        nth(self.subnet(facts), BRIDGE_NUMBER)
    }

    /// Number in the subnet of the first address for tasks.
    fn first_number(self) -> u32 {
        match self {
            Self::Gateway => INGRESS_NUMBER + 1,
            Self::Default => BRIDGE_NUMBER + 1,
        }
    }
}

/// A sandbox's place on a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) bridge: Bridge,
    pub(super) address: IpNet,
}

pub(super) fn mtu(facts: &LocalFacts) -> u32 {
    facts.path_mtu.min(MTU_MAX)
}

/// The ingress sandbox's address on `docker_gwbridge`.
pub(super) fn ingress_address(facts: &LocalFacts) -> Option<IpNet> {
    nth(Bridge::Gateway.subnet(facts), INGRESS_NUMBER)
}

/// The host's and the ingress sandbox's IPv6 addresses on `docker_gwbridge`, between which the node's own connections to
/// an IPv6 routing mesh pass. `None` on a node without an IPv6 address: nobody could answer it.
pub(super) fn ingress_ipv6_hop(facts: &LocalFacts) -> Option<(IpNet, IpNet)> {
    facts.source(false)?;
    let subnet = IpNet::from(Ipv6Net::new(INGRESS_HOP, INGRESS_HOP_PREFIX).ok()?);
    Some((nth(subnet, BRIDGE_NUMBER)?, nth(subnet, INGRESS_NUMBER)?))
}

/// The Ethernet address of whoever holds `address` on one of the bridges. It follows from the address, as Docker's does:
/// the host's neighbour table then stays right when an address passes from one sandbox to the next. (On overlays, where
/// other nodes remember forwarding entries, it is the other way round; see [`Mac::of_endpoint`].)
pub(super) fn mac(address: IpNet, bridge: &str) -> Mac {
    match address.addr() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            Mac([0x02, 0x42, a, b, c, d])
        }
        IpAddr::V6(v6) => Mac::of_endpoint(&v6.to_string(), bridge),
    }
}

/// Gives every sandbox that has a way out its address: the one that it has, else the lowest that nobody has.
pub(super) fn addresses(
    assignment: &Assignment,
    sandboxed: &[&TaskAssignment],
    namespaces: &Namespaces,
    facts: &LocalFacts,
) -> OutsideAddresses {
    let mut given = BTreeMap::new();
    for bridge in Bridge::ALL {
        let holders: Vec<&TaskId> =
            sandboxed.iter().filter(|t| way_out(t, assignment) == Some(bridge)).map(|t| &t.id).collect();
        // Addresses of sandboxes that are about to go count, too: both are there for a moment.
        let mut taken: BTreeSet<IpNet> = seen(namespaces, bridge.subnet(facts)).collect();
        let mut kept = BTreeSet::new();
        for holder in &holders {
            if let Some(address) = current(holder, bridge, namespaces, facts).filter(|a| kept.insert(*a)) {
                given.insert((*holder).clone(), Outside { bridge, address });
            }
        }
        let mut number = bridge.first_number();
        for holder in holders {
            if given.contains_key(holder) {
                continue;
            }
            while let Some(address) = nth(bridge.subnet(facts), number) {
                number += 1;
                if taken.insert(address) {
                    given.insert(holder.clone(), Outside { bridge, address });
                    break;
                }
            }
        }
    }
    given
}

/// Every address of the subnet that some sandbox was seen to hold.
fn seen(namespaces: &Namespaces, subnet: IpNet) -> impl Iterator<Item = IpNet> {
    let sandboxes = namespaces.iter().filter(|(name, _)| **name != NamespaceName::Host);
    let links = sandboxes.flat_map(|(_, namespace)| namespace.links.values());
    links.flat_map(|link| link.addresses.iter().copied()).filter(move |a| a.trunc() == subnet)
}

/// The address that a sandbox was seen to hold on the bridge, if a sandbox may hold it.
fn current(holder: &TaskId, bridge: Bridge, namespaces: &Namespaces, facts: &LocalFacts) -> Option<IpNet> {
    let port = names::veth(holder.as_str(), bridge.name());
    let reserved =
        (0..bridge.first_number()).filter_map(|n| nth(bridge.subnet(facts), n)).collect::<Vec<_>>();
    let links = &namespaces.get(&names::sandbox(holder))?.links;
    let on_bridge = links.values().filter(|link| match &link.kind {
        LinkKind::Veth { peer_namespace, peer } => *peer_namespace == NamespaceName::Host && *peer == port,
        _ => false,
    });
    on_bridge
        .flat_map(|link| link.addresses.iter().copied())
        .find(|a| a.trunc() == bridge.subnet(facts) && !reserved.contains(a))
}

/// The address with that number in a subnet, with the subnet's prefix length; `None` beyond the last that a host may
/// hold.
fn nth(subnet: IpNet, number: u32) -> Option<IpNet> {
    let address: IpAddr = match subnet.network() {
        IpAddr::V4(network) => Ipv4Addr::from(u32::from(network).checked_add(number)?).into(),
        IpAddr::V6(network) => Ipv6Addr::from(u128::from(network).checked_add(number.into())?).into(),
    };
    let usable = subnet.contains(&address) && (address.is_ipv6() || address != subnet.broadcast());
    usable.then(|| IpNet::new(address, subnet.prefix_len()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_within_the_subnet() {
        let net: IpNet = "172.18.0.0/29".parse().unwrap();
        assert_eq!(nth(net, 1), Some("172.18.0.1/29".parse().unwrap()));
        assert_eq!(nth(net, 6), Some("172.18.0.6/29".parse().unwrap()));
        assert_eq!(nth(net, 7), None, "the broadcast address");
        assert_eq!(nth(net, 8), None, "the next subnet");
        assert_eq!(nth("fd00::/64".parse().unwrap(), 2), Some("fd00::2/64".parse().unwrap()));
    }

    #[test]
    fn the_mac_follows_from_the_address_as_dockers_does() {
        let mac = mac("172.18.0.3/16".parse().unwrap(), "docker_gwbridge");
        assert_eq!(mac.to_string(), "02:42:ac:12:00:03");
    }
}
