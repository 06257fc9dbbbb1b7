//! Links: those in the way, those that are missing, those that differ.

use super::state::Repair;
use shoal_model::netns::{Link, LinkKind, NamespaceName, Namespaces, NetOp};
use std::collections::BTreeSet;

/// Removes links that are not declared, that are of another kind than declared, or whose other end is lost. A namespace
/// that goes takes its links along, except for tunnels whose number is wanted elsewhere.
pub(super) fn remove_stale(repair: &mut Repair, declared: &Namespaces) {
    let wanted_tunnels: BTreeSet<(u32, u16)> =
        declared.values().flat_map(|n| n.links.values()).filter_map(tunnel).collect();
    let mut stale: Vec<(NamespaceName, String)> = Vec::new();
    for (name, held) in &repair.expected {
        for (link_name, link) in &held.links {
            let in_the_way = match declared.get(name) {
                _ if link.kind == LinkKind::Loopback => false,
                Some(wanted) => {
                    wanted.links.get(link_name).is_none_or(|w| w.kind != link.kind)
                        || !repair.is_whole(name, link_name, link)
                }
                None if *name == NamespaceName::Host => true,
                None => tunnel(link).is_some_and(|t| wanted_tunnels.contains(&t)),
            };
            if in_the_way {
                stale.push((name.clone(), link_name.clone()));
            }
        }
    }
    for (namespace, link) in stale {
        repair.remove_link(&namespace, &link);
    }
}

/// Number and port of a tunnel: one such device can exist at a time, whatever its namespace, since all sockets are in
/// the host's.
fn tunnel(link: &Link) -> Option<(u32, u16)> {
    match link.kind {
        LinkKind::Vxlan { vni, port, .. } => Some((vni, port)),
        _ => None,
    }
}

/// Makes what is missing: bridges, then tunnels, then pairs, which may be ports of either namespace's bridge.
pub(super) fn create_missing(repair: &mut Repair, declared: &Namespaces) {
    let all =
        || declared.iter().flat_map(|(ns, held)| held.links.iter().map(move |(name, link)| (ns, name, link)));
    for stage in 0..=2 {
        for (namespace, name, link) in all().filter(|(_, _, link)| rank(link) == Some(stage)) {
            if repair.link(namespace, name).is_none() {
                create(repair, declared, namespace, name, link);
            }
        }
    }
}

/// Whose turn it is. `lo` is never made.
fn rank(link: &Link) -> Option<u8> {
    match link.kind {
        LinkKind::Loopback => None,
        LinkKind::Bridge => Some(0),
        LinkKind::Vxlan { .. } => Some(1),
        LinkKind::Veth { .. } => Some(2),
    }
}

fn create(repair: &mut Repair, declared: &Namespaces, namespace: &NamespaceName, name: &str, link: &Link) {
    repair.namespace(namespace).links.insert(name.to_owned(), link.clone());
    let mut op = (namespace, name, link, None);
    if let LinkKind::Veth { peer_namespace, peer } = &link.kind
        && let Some(other) = declared.get(peer_namespace).and_then(|held| held.links.get(peer))
    {
        repair.namespace(peer_namespace).links.insert(peer.clone(), other.clone());
        // Told from the sandbox's end, which is no bridge's port.
        op = if link.master.is_some() && other.master.is_none() {
            (peer_namespace, peer, other, Some(link))
        } else {
            (namespace, name, link, Some(other))
        };
    }
    let (namespace, name, link, peer_link) = op;
    repair.ops.push(NetOp::CreateLink {
        namespace: namespace.clone(),
        name: name.to_owned(),
        link: link.clone(),
        peer_link: peer_link.cloned().map(Box::new),
    });
}

/// Sets the properties of links that differ.
pub(super) fn set_changed(repair: &mut Repair, declared: &Namespaces) {
    for (namespace, wanted) in declared {
        for (name, link) in &wanted.links {
            if repair.link(namespace, name).is_some_and(|held| is_set(link, held)) {
                continue;
            }
            repair.ops.push(NetOp::SetLink {
                namespace: namespace.clone(),
                name: name.clone(),
                link: link.clone(),
            });
            let links = &mut repair.namespace(namespace).links;
            let addresses = links.get(name).map(|held| held.addresses.clone()).unwrap_or_default();
            links.insert(name.clone(), Link { addresses, ..link.clone() });
        }
    }
}

/// Whether a link's properties are as wanted, apart from its addresses.
fn is_set(wanted: &Link, held: &Link) -> bool {
    (wanted.mac.is_none() || wanted.mac == held.mac)
        && (wanted.mtu == 0 || wanted.mtu == held.mtu)
        && wanted.master == held.master
        && wanted.up == held.up
}
