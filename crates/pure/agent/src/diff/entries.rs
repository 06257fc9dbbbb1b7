//! Everything but links: namespaces, parameters, addresses, routes, rules, neighbours, forwarding entries, the packet
//! filter.

use super::state::{Repair, sysctl_link};
use shoal_model::netns::{Link, LinkKind, Namespace, NamespaceName, Namespaces, NetOp};
use std::collections::BTreeSet;

pub(super) fn create_namespaces(repair: &mut Repair, declared: &Namespaces) {
    for name in declared.keys().filter(|name| **name != NamespaceName::Host) {
        if repair.expected.contains_key(name) {
            continue;
        }
        repair.ops.push(NetOp::CreateNamespace(name.clone()));
        let loopback = Link {
            kind: LinkKind::Loopback,
            mac: None,
            mtu: 0,
            master: None,
            addresses: BTreeSet::new(),
            up: true,
        };
        repair.namespace(name).links.insert(crate::names::LOOPBACK.to_owned(), loopback);
    }
}

pub(super) fn remove_namespaces(repair: &mut Repair, declared: &Namespaces) {
    let stale =
        repair.expected.keys().filter(|name| **name != NamespaceName::Host && !declared.contains_key(*name));
    repair.ops.extend(stale.cloned().map(NetOp::RemoveNamespace));
}

/// Which kernel parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of the whole namespace, which new links take over: to be set before there are links.
    Namespace,
    /// Those of one link, which are there only when the link is.
    Link,
}

pub(super) fn set_sysctls(repair: &mut Repair, declared: &Namespaces, scope: Scope) {
    for (namespace, wanted) in declared {
        let held = &repair.expected.get(namespace).map(|held| held.sysctls.clone()).unwrap_or_default();
        let of_scope = |name: &str| sysctl_link(name).is_some() == (scope == Scope::Link);
        for (name, value) in wanted.sysctls.iter().filter(|(name, _)| of_scope(name)) {
            if held.get(name).is_none_or(|held| !same_value(held, value)) {
                let (namespace, name, value) = (namespace.clone(), name.clone(), value.clone());
                repair.ops.push(NetOp::SetSysctl { namespace, name, value });
            }
        }
    }
}

/// The kernel prints several numbers with tabs between them.
fn same_value(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// Takes addresses away first: when the kernel removes the first address of a subnet it removes the link's others of
/// that subnet, too, so those are given again.
pub(super) fn addresses(repair: &mut Repair, declared: &Namespaces) {
    for (namespace, wanted) in declared {
        for (link, wanted) in &wanted.links {
            let held = repair.link(namespace, link).map(|held| held.addresses.clone()).unwrap_or_default();
            let stale: Vec<_> = held.difference(&wanted.addresses).copied().collect();
            let taken_along = |address| stale.iter().any(|gone| gone.trunc() == address);
            for address in &stale {
                let (namespace, link) = (namespace.clone(), link.clone());
                repair.ops.push(NetOp::RemoveAddress { namespace, link, address: *address });
            }
            for address in wanted.addresses.iter().filter(|a| !held.contains(*a) || taken_along(a.trunc())) {
                let (namespace, link) = (namespace.clone(), link.clone());
                repair.ops.push(NetOp::AddAddress { namespace, link, address: *address });
            }
        }
    }
}

/// Both sides of a namespace, for comparison. Without a declaration only the host's namespace is cleared: any other
/// goes as a whole.
fn sides<'a>(
    declared: &'a Namespaces,
    expected: &'a Namespaces,
    nothing: &'a Namespace,
) -> impl Iterator<Item = (&'a NamespaceName, &'a Namespace, &'a Namespace)> {
    let names: BTreeSet<&NamespaceName> = declared.keys().chain([&NamespaceName::Host]).collect();
    names
        .into_iter()
        .map(move |name| (name, declared.get(name).unwrap_or(nothing), expected.get(name).unwrap_or(nothing)))
}

/// An added route takes the place of one with the same destination and table.
pub(super) fn routes(repair: &mut Repair, declared: &Namespaces) {
    let nothing = Namespace::default();
    let mut ops = Vec::new();
    for (name, wanted, held) in sides(declared, &repair.expected, &nothing) {
        let missing: Vec<_> = wanted.routes.difference(&held.routes).collect();
        let replaced =
            |destination, table| missing.iter().any(|m| (m.destination, m.table) == (destination, table));
        let stale = held.routes.difference(&wanted.routes).filter(|r| !replaced(r.destination, r.table));
        ops.extend(stale.map(|route| NetOp::RemoveRoute(name.clone(), route.clone())));
        ops.extend(missing.into_iter().map(|route| NetOp::AddRoute(name.clone(), route.clone())));
    }
    repair.ops.extend(ops);
}

pub(super) fn rules(repair: &mut Repair, declared: &Namespaces) {
    let nothing = Namespace::default();
    let mut ops = Vec::new();
    for (name, wanted, held) in sides(declared, &repair.expected, &nothing) {
        let stale = held.rules.difference(&wanted.rules);
        ops.extend(stale.map(|rule| NetOp::RemoveRule(name.clone(), rule.clone())));
        let missing = wanted.rules.difference(&held.rules);
        ops.extend(missing.map(|rule| NetOp::AddRule(name.clone(), rule.clone())));
    }
    repair.ops.extend(ops);
}

/// An added neighbour takes the place of one with the same address.
pub(super) fn neighbours(repair: &mut Repair, declared: &Namespaces) {
    let nothing = Namespace::default();
    let mut ops = Vec::new();
    for (name, wanted, held) in sides(declared, &repair.expected, &nothing) {
        let kept: BTreeSet<_> = wanted.neighbours.iter().map(|n| (&n.link, n.address)).collect();
        let stale = held.neighbours.iter().filter(|n| !kept.contains(&(&n.link, n.address)));
        ops.extend(stale.map(|neighbour| NetOp::RemoveNeighbour(name.clone(), neighbour.clone())));
        let missing = wanted.neighbours.difference(&held.neighbours);
        ops.extend(missing.map(|neighbour| NetOp::AddNeighbour(name.clone(), neighbour.clone())));
    }
    repair.ops.extend(ops);
}

/// An added forwarding entry takes the place of one with the same Ethernet address.
pub(super) fn forwarding(repair: &mut Repair, declared: &Namespaces) {
    let nothing = Namespace::default();
    let mut ops = Vec::new();
    for (name, wanted, held) in sides(declared, &repair.expected, &nothing) {
        let kept: BTreeSet<_> = wanted.forwarding.iter().map(|f| (&f.link, f.mac)).collect();
        let stale = held.forwarding.iter().filter(|f| !kept.contains(&(&f.link, f.mac)));
        ops.extend(stale.map(|entry| NetOp::RemoveForwarding(name.clone(), entry.clone())));
        let missing = wanted.forwarding.difference(&held.forwarding);
        ops.extend(missing.map(|entry| NetOp::AddForwarding(name.clone(), entry.clone())));
    }
    repair.ops.extend(ops);
}

pub(super) fn firewall(repair: &mut Repair, declared: &Namespaces) {
    let nothing = Namespace::default();
    let mut ops = Vec::new();
    for (name, wanted, held) in sides(declared, &repair.expected, &nothing) {
        if wanted.firewall != held.firewall {
            ops.push(NetOp::SetFirewall(name.clone(), wanted.firewall.clone()));
        }
    }
    repair.ops.extend(ops);
}
