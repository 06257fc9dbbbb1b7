//! The repairs that lead from what was seen to what is declared.

mod entries;
mod links;
mod state;

use shoal_model::netns::{NamespaceName, Namespaces, NetOp};
use std::collections::BTreeSet;

/// The repairs that lead from `observed` to `declared`, in an order that works: namespaces, parameters that shape new
/// links, links out of the way, new links (bridges before their ports), properties, addresses, routes, rules,
/// neighbours, forwarding entries, parameters of links, the packet filter; namespaces go last. A pair is made and removed
/// once. What one repair takes along (the routes of a removed link, the ports of a removed bridge) is repaired in the
/// same list.
///
/// Not compared: a MAC that is not declared, an MTU declared as 0. In the host's namespace everything observed counts as
/// Shoal's own; it is neither made nor removed itself. Parameters are set and never set back.
pub fn diff(declared: &Namespaces, observed: &Namespaces) -> Vec<NetOp> {
    let mut repair = state::Repair::new(observed);
    entries::create_namespaces(&mut repair, declared);
    entries::set_sysctls(&mut repair, declared, entries::Scope::Namespace);
    links::remove_stale(&mut repair, declared);
    links::create_missing(&mut repair, declared);
    links::set_changed(&mut repair, declared);
    entries::addresses(&mut repair, declared);
    entries::routes(&mut repair, declared);
    entries::rules(&mut repair, declared);
    entries::neighbours(&mut repair, declared);
    entries::forwarding(&mut repair, declared);
    entries::set_sysctls(&mut repair, declared, entries::Scope::Link);
    entries::firewall(&mut repair, declared);
    entries::remove_namespaces(&mut repair, declared);
    repair.ops
}

/// The namespaces in which something of consequence to a container is not as declared. Parameters of IPv6 do not
/// count: a kernel without IPv6 has none.
pub(crate) fn outstanding(declared: &Namespaces, observed: &Namespaces) -> BTreeSet<NamespaceName> {
    let mut touched = BTreeSet::new();
    for op in diff(declared, observed) {
        match op {
            NetOp::SetSysctl { name, .. } if name.starts_with("net.ipv6.") => {}
            op => touched.extend(places(op)),
        }
    }
    touched
}

/// Where a repair changes something.
fn places(op: NetOp) -> Vec<NamespaceName> {
    match op {
        NetOp::CreateLink { namespace, link, .. } => match link.kind {
            shoal_model::netns::LinkKind::Veth { peer_namespace, .. } => vec![namespace, peer_namespace],
            _ => vec![namespace],
        },
        NetOp::CreateNamespace(namespace)
        | NetOp::RemoveNamespace(namespace)
        | NetOp::RemoveLink { namespace, .. }
        | NetOp::SetLink { namespace, .. }
        | NetOp::AddAddress { namespace, .. }
        | NetOp::RemoveAddress { namespace, .. }
        | NetOp::AddRoute(namespace, _)
        | NetOp::RemoveRoute(namespace, _)
        | NetOp::AddRule(namespace, _)
        | NetOp::RemoveRule(namespace, _)
        | NetOp::AddNeighbour(namespace, _)
        | NetOp::RemoveNeighbour(namespace, _)
        | NetOp::AddForwarding(namespace, _)
        | NetOp::RemoveForwarding(namespace, _)
        | NetOp::SetSysctl { namespace, .. }
        | NetOp::SetFirewall(namespace, _) => vec![namespace],
    }
}
