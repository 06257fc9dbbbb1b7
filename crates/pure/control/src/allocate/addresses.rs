//! Addresses on a network, handed out one behind the other: a freed address rests until all others have had their turn,
//! so that no node still knows its former holder.

use super::subnets::plus;
use crate::draft::Draft;
use ipnet::IpNet;
use shoal_model::network::Subnet;
use shoal_model::{Network, NetworkId};
use shoal_store::{Change, State};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The networks that something was handed out on in this pass.
#[derive(Default)]
pub(super) struct AddressBooks {
    books: BTreeMap<NetworkId, AddressBook>,
    /// Addresses that ended tasks remember, by network; gathered when first needed.
    remembered: Option<BTreeMap<NetworkId, BTreeSet<IpAddr>>>,
}

impl AddressBooks {
    /// One address of each family that the network has, with the subnet's prefix length; `None` when one family is used
    /// up, or the network is not allocated yet.
    pub(super) fn next(&mut self, state: &State, network: &NetworkId) -> Option<Vec<IpNet>> {
        if !self.books.contains_key(network) {
            let stored = state.networks().get(network).filter(|network| network.is_allocated())?;
            let remembered = self.remembered.get_or_insert_with(|| remembered(state));
            let resting = remembered.remove(network).unwrap_or_default();
            self.books.insert(network.clone(), AddressBook::new(state, stored, resting));
        }
        self.books.get_mut(network)?.next()
    }

    /// Tells the state how far each network got.
    pub(super) fn note_cursors(self, draft: &mut Draft<'_>) {
        for (id, book) in self.books {
            let stored = draft.state().networks().get(&id);
            let Some(vni) = stored.filter(|n| n.subnets != book.subnets).map(|n| n.vni) else { continue };
            draft.make(Change::AllocateNetwork { id, subnets: book.subnets, vni });
        }
    }
}

fn remembered(state: &State) -> BTreeMap<NetworkId, BTreeSet<IpAddr>> {
    let mut remembered: BTreeMap<NetworkId, BTreeSet<IpAddr>> = BTreeMap::new();
    for attachment in state.tasks().values().flat_map(|task| &task.attachments) {
        let of_network = remembered.entry(attachment.network.clone()).or_default();
        of_network.extend(attachment.addresses.iter().map(IpNet::addr));
    }
    remembered
}

struct AddressBook {
    subnets: Vec<Subnet>,
    held: BTreeSet<IpAddr>,
    resting: BTreeSet<IpAddr>,
}

impl AddressBook {
    fn new(state: &State, network: &Network, resting: BTreeSet<IpAddr>) -> Self {
        let held = state.addresses_held(&network.id).map(|(address, _)| address).collect();
        Self { subnets: network.subnets.clone(), held, resting }
    }

    fn next(&mut self) -> Option<Vec<IpNet>> {
        let families: BTreeSet<bool> = self.subnets.iter().map(|s| s.subnet.addr().is_ipv4()).collect();
        let mut found = Vec::new();
        for ipv4 in families.into_iter().rev() {
            let of_family =
                (0..self.subnets.len()).filter(|nth| self.subnets[*nth].subnet.addr().is_ipv4() == ipv4);
            let candidates: Vec<_> = of_family.collect();
            // An address that an ended task remembers is only taken when there is no other.
            let of_family = [true, false].into_iter().find_map(|rest| {
                candidates.iter().find_map(|nth| Some((*nth, self.search(&self.subnets[*nth], rest)?)))
            });
            found.push(of_family?);
        }
        // Only now: one family alone must leave no mark, or the marks would move on every pass while the other is full.
        let mut addresses = Vec::new();
        for (nth, address) in found {
            let subnet = &mut self.subnets[nth];
            subnet.last = Some(address);
            addresses.extend(IpNet::new(address, subnet.subnet.prefix_len()));
            self.held.insert(address);
        }
        Some(addresses)
    }

    /// The first address behind the last one handed out that nobody holds.
    fn search(&self, subnet: &Subnet, rest: bool) -> Option<IpAddr> {
        let range = subnet.range.unwrap_or(subnet.subnet);
        let size = size(range);
        // Among so many addresses in a row one is free, if any is.
        let crowd = self.held.len() + if rest { self.resting.len() } else { 0 };
        let tries = size.min(u128::try_from(crowd).unwrap_or(u128::MAX).saturating_add(3));
        let start = match subnet.last.filter(|last| range.contains(last)) {
            Some(last) => offset(range, last) + 1,
            None => 0,
        };
        (0..tries).map(|n| plus(range.network(), (start + n) % size)).find(|address| {
            is_host(subnet, address)
                && !self.held.contains(address)
                && !(rest && self.resting.contains(address))
        })
    }
}

fn is_host(subnet: &Subnet, address: &IpAddr) -> bool {
    let net = subnet.subnet;
    let tiny = net.max_prefix_len() - net.prefix_len() < 2;
    let ends = *address == net.network() || (address.is_ipv4() && *address == net.broadcast());
    *address != subnet.gateway && (tiny || !ends)
}

/// How many addresses a subnet has; a whole IPv6 space counts as one less.
fn size(net: IpNet) -> u128 {
    let bits = u32::from(net.max_prefix_len() - net.prefix_len());
    1_u128.checked_shl(bits).unwrap_or(u128::MAX)
}

fn offset(range: IpNet, address: IpAddr) -> u128 {
    match (range.network(), address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => u128::from(to.to_bits().wrapping_sub(from.to_bits())),
        (IpAddr::V6(from), IpAddr::V6(to)) => to.to_bits().wrapping_sub(from.to_bits()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(
        subnet: &str,
        range: Option<&str>,
        last: Option<&str>,
        held: &[&str],
        resting: &[&str],
    ) -> AddressBook {
        let subnet: IpNet = subnet.parse().unwrap();
        let addresses = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        let subnet = Subnet {
            subnet,
            gateway: plus(subnet.network(), 1),
            range: range.map(|r| r.parse().unwrap()),
            last: last.map(|l| l.parse().unwrap()),
        };
        AddressBook { subnets: vec![subnet], held: addresses(held), resting: addresses(resting) }
    }

    fn drawn(book: &mut AddressBook, count: usize) -> Vec<String> {
        (0..count).map_while(|_| book.next()).map(|a| a[0].to_string()).collect()
    }

    #[test]
    fn the_first_is_behind_the_gateway() {
        assert_eq!(drawn(&mut book("10.0.0.0/24", None, None, &["10.0.0.1"], &[]), 1), ["10.0.0.2/24"]);
    }

    #[test]
    fn the_next_is_handed_out_not_the_lowest() {
        let mut book = book("10.0.0.0/24", None, Some("10.0.0.9"), &["10.0.0.11"], &[]);
        assert_eq!(drawn(&mut book, 2), ["10.0.0.10/24", "10.0.0.12/24"]);
    }

    #[test]
    fn the_search_wraps_and_ends() {
        let mut book = book("10.0.0.0/29", None, Some("10.0.0.5"), &["10.0.0.1", "10.0.0.3"], &[]);
        assert_eq!(drawn(&mut book, 9), ["10.0.0.6/29", "10.0.0.2/29", "10.0.0.4/29", "10.0.0.5/29"]);
    }

    #[test]
    fn what_ended_tasks_remember_comes_last() {
        let mut book = book("10.0.0.0/29", None, None, &["10.0.0.1"], &["10.0.0.2", "10.0.0.3"]);
        assert_eq!(
            drawn(&mut book, 9),
            ["10.0.0.4/29", "10.0.0.5/29", "10.0.0.6/29", "10.0.0.2/29", "10.0.0.3/29"]
        );
    }

    #[test]
    fn a_range_bounds_the_search() {
        let mut book = book("10.0.0.0/24", Some("10.0.0.128/30"), None, &["10.0.0.1"], &[]);
        let all = ["10.0.0.128/24", "10.0.0.129/24", "10.0.0.130/24", "10.0.0.131/24"];
        assert_eq!(drawn(&mut book, 9), all);
    }

    #[test]
    fn ipv6_subnets_are_not_walked_through() {
        let mut book =
            book("fd00::/64", None, Some("fd00::ffff:ffff:ffff:ffff"), &["fd00::1", "fd00::2"], &[]);
        assert_eq!(drawn(&mut book, 2), ["fd00::3/64", "fd00::4/64"]);
    }
}
