//! Subnets for networks, cut from the swarm's pools.

use crate::admit::overlap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shoal_model::network::{Subnet, SubnetSpec};
use shoal_model::{Cluster, Network};
use shoal_store::State;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Docker's pool for overlay networks where none was asked for: 10.0.0.0/8 in subnets of /24.
const POOL_DEFAULT: (Ipv4Addr, u8, u8) = (Ipv4Addr::new(10, 0, 0, 0), 8, 24);
/// Length of an IPv6 subnet: the one that hosts are given (RFC 4291, section 2.5.1).
const IPV6_SUBNET_PREFIX: u8 = 64;
/// Length of a site's own IPv6 prefix (RFC 4193, section 3.1).
const IPV6_SITE_PREFIX: u8 = 48;
/// Subnets that are tried before a pool counts as used up.
const TRIES_MAX: usize = 1 << 20;

/// The subnets of a network: those that were asked for, or the first free ones of the pools. `None` when a pool is used
/// up.
pub(super) fn choose(state: &State, network: &Network) -> Option<Vec<Subnet>> {
    let asked = &network.spec.subnets;
    let mut subnets: Vec<Subnet> = asked.iter().map(as_asked).collect();
    let has = |subnets: &[Subnet], ipv4: bool| subnets.iter().any(|s| s.subnet.addr().is_ipv4() == ipv4);
    let taken = taken(state, network);
    if network.spec.enable_ipv4 && !has(&subnets, true) {
        subnets.insert(0, subnet(first_free(&pools_v4(state), &taken)?));
    }
    if network.spec.enable_ipv6 && !has(&subnets, false) {
        subnets.push(subnet(first_free(&pools_v6(state), &taken)?));
    }
    Some(subnets)
}

fn as_asked(asked: &SubnetSpec) -> Subnet {
    let gateway = asked.gateway.unwrap_or_else(|| first_host(asked.subnet));
    Subnet { subnet: asked.subnet.trunc(), gateway, range: asked.range, last: None }
}

fn subnet(subnet: IpNet) -> Subnet {
    Subnet { subnet, gateway: first_host(subnet), range: None, last: None }
}

fn first_host(subnet: IpNet) -> IpAddr {
    let host_bits = subnet.max_prefix_len() - subnet.prefix_len();
    if host_bits < 2 { subnet.network() } else { plus(subnet.network(), 1) }
}

/// The address that is `n` further, wrapping at the end of the family.
pub(super) fn plus(address: IpAddr, n: u128) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let n = u32::try_from(n & u128::from(u32::MAX)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().wrapping_add(n)))
        }
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().wrapping_add(n))),
    }
}

/// What no new subnet may touch: other networks, and what the hosts route already.
fn taken(state: &State, but: &Network) -> Vec<IpNet> {
    let networks = state.networks().values().filter(|other| other.id != but.id);
    let of_networks = networks.flat_map(|other| {
        let asked = other.spec.subnets.iter().map(|s| s.subnet);
        asked.chain(other.subnets.iter().map(|s| s.subnet))
    });
    let of_hosts = state.nodes().values().flat_map(|node| node.description.routes.iter().copied());
    let own = but.spec.subnets.iter().map(|s| s.subnet);
    of_networks.chain(of_hosts).chain(own).collect()
}

/// A pool and the length of the subnets cut from it.
type Pool = (IpNet, u8);

fn pools_v4(state: &State) -> Vec<Pool> {
    let asked = pools(state.cluster().map(AsRef::as_ref), true);
    if !asked.is_empty() {
        return asked;
    }
    let (address, prefix, size) = POOL_DEFAULT;
    Ipv4Net::new(address, prefix).map(|pool| vec![(IpNet::V4(pool), size)]).unwrap_or_default()
}

/// Without an IPv6 pool a site's own prefix is made from the swarm's identity, so that it is the same for ever.
fn pools_v6(state: &State) -> Vec<Pool> {
    let asked = pools(state.cluster().map(AsRef::as_ref), false);
    let Some(cluster) = state.cluster().filter(|_| asked.is_empty()) else { return asked };
    let site = cluster.id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let prefix = (0xfd_u128 << 120) | (u128::from(site >> 24) << 80);
    let pool = Ipv6Net::new(Ipv6Addr::from_bits(prefix), IPV6_SITE_PREFIX);
    pool.map(|pool| vec![(IpNet::V6(pool), IPV6_SUBNET_PREFIX)]).unwrap_or_default()
}

fn pools(cluster: Option<&Cluster>, ipv4: bool) -> Vec<Pool> {
    let Some(cluster) = cluster else { return Vec::new() };
    let (_, _, size_default) = POOL_DEFAULT;
    let size = if cluster.subnet_size == 0 { size_default } else { cluster.subnet_size };
    let of_family = cluster.default_addr_pool.iter().filter(|pool| pool.addr().is_ipv4() == ipv4);
    of_family.map(|pool| (*pool, if ipv4 { size } else { IPV6_SUBNET_PREFIX })).collect()
}

fn first_free(pools: &[Pool], taken: &[IpNet]) -> Option<IpNet> {
    let subnets = pools.iter().flat_map(|(pool, size)| subnets_of(*pool, *size)).take(TRIES_MAX);
    subnets.into_iter().find(|subnet| !taken.iter().any(|taken| overlap(*taken, *subnet)))
}

fn subnets_of(pool: IpNet, size: u8) -> Box<dyn Iterator<Item = IpNet>> {
    let size = size.max(pool.prefix_len());
    match pool {
        IpNet::V4(pool) => match pool.subnets(size) {
            Ok(subnets) => Box::new(subnets.map(IpNet::V4)),
            Err(_) => Box::new(std::iter::empty()),
        },
        IpNet::V6(pool) => match pool.subnets(size) {
            Ok(subnets) => Box::new(subnets.map(IpNet::V6)),
            Err(_) => Box::new(std::iter::empty()),
        },
    }
}
