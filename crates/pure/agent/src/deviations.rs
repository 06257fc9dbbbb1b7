//! What namespaces hold other than declared, in words. It is the same comparison as [`diff`](crate::diff()): whatever
//! would be repaired deviates.

use crate::diff;
use shoal_model::deviation::{Deviation, DeviationKind, Found};
use shoal_model::netns::{Link, LinkKind, Namespace, NamespaceName, Namespaces, NetOp, Route, Rule};

/// Everything in `observed` that is not as `declared`. A kernel without IPv6 has none of its parameters, so that those
/// do not count where they were not seen at all.
pub fn deviations(declared: &Namespaces, observed: &Namespaces) -> Vec<Deviation> {
    diff(declared, observed).iter().filter_map(|op| of_repair(op, observed)).collect()
}

fn of_repair(op: &NetOp, observed: &Namespaces) -> Option<Deviation> {
    let seen = |namespace: &NamespaceName| observed.get(namespace);
    Some(match op {
        NetOp::CreateNamespace(name) => new(DeviationKind::Namespace, None, namespace(name), Found::Missing),
        NetOp::RemoveNamespace(name) => {
            new(DeviationKind::Namespace, None, namespace(name), Found::Unexpected)
        }
        NetOp::CreateLink { namespace, name, .. } => {
            new(DeviationKind::Link, Some(namespace), format!("link {name}"), Found::Missing)
        }
        NetOp::RemoveLink { namespace, name } => {
            new(DeviationKind::Link, Some(namespace), format!("link {name}"), Found::Unexpected)
        }
        NetOp::SetLink { namespace, name, link } => {
            let held = seen(namespace).and_then(|n| n.links.get(name));
            let detail = held.map(|held| properties(held, link)).unwrap_or_default();
            let found = new(DeviationKind::Link, Some(namespace), format!("link {name}"), Found::Different);
            Deviation { detail, ..found }
        }
        NetOp::AddAddress { namespace, link, address } => new(
            DeviationKind::Address,
            Some(namespace),
            format!("address {address} on {link}"),
            Found::Missing,
        ),
        NetOp::RemoveAddress { namespace, link, address } => {
            let what = format!("address {address} on {link}");
            new(DeviationKind::Address, Some(namespace), what, Found::Unexpected)
        }
        NetOp::SetSysctl { namespace, name, value } => {
            let held = seen(namespace).and_then(|n| n.sysctls.get(name));
            parameter(namespace, name, value, held)?
        }
        NetOp::SetFirewall(namespace, _) => {
            let empty = seen(namespace).is_none_or(|n| n.firewall.is_empty());
            let found = if empty { Found::Missing } else { Found::Different };
            new(DeviationKind::Firewall, Some(namespace), "packet filter".to_owned(), found)
        }
        entry => of_entry(entry, observed),
    })
}

/// Routes, rules, neighbours and forwarding entries.
fn of_entry(op: &NetOp, observed: &Namespaces) -> Deviation {
    let seen = |namespace: &NamespaceName| observed.get(namespace);
    match op {
        NetOp::AddRoute(namespace, added) => {
            new(DeviationKind::Route, Some(namespace), route(added), Found::Missing)
        }
        NetOp::RemoveRoute(namespace, removed) => {
            new(DeviationKind::Route, Some(namespace), route(removed), Found::Unexpected)
        }
        NetOp::AddRule(namespace, added) => {
            new(DeviationKind::Rule, Some(namespace), rule(added), Found::Missing)
        }
        NetOp::RemoveRule(namespace, removed) => {
            new(DeviationKind::Rule, Some(namespace), rule(removed), Found::Unexpected)
        }
        NetOp::AddNeighbour(namespace, added) => {
            let what = format!("neighbour {} at {} on {}", added.address, added.mac, added.link);
            let held = |n: &Namespace| {
                let mut same = n.neighbours.iter();
                same.find(|h| (&h.link, h.address) == (&added.link, added.address)).map(|h| h.mac)
            };
            let other = seen(namespace).and_then(held).map(|mac| format!("it is at {mac}"));
            replaced(DeviationKind::Neighbour, namespace, what, other)
        }
        NetOp::RemoveNeighbour(namespace, removed) => {
            let what = format!("neighbour {} at {} on {}", removed.address, removed.mac, removed.link);
            new(DeviationKind::Neighbour, Some(namespace), what, Found::Unexpected)
        }
        NetOp::AddForwarding(namespace, added) => {
            let what = format!("forwarding entry {} to {} on {}", added.mac, added.tunnel, added.link);
            let held = |n: &Namespace| {
                let mut same = n.forwarding.iter();
                same.find(|h| (&h.link, h.mac) == (&added.link, added.mac)).map(|h| h.tunnel)
            };
            let other = seen(namespace).and_then(held).map(|tunnel| format!("it leads to {tunnel}"));
            replaced(DeviationKind::Forwarding, namespace, what, other)
        }
        NetOp::RemoveForwarding(namespace, removed) => {
            let what = format!("forwarding entry {} to {} on {}", removed.mac, removed.tunnel, removed.link);
            new(DeviationKind::Forwarding, Some(namespace), what, Found::Unexpected)
        }
        other => new(DeviationKind::Namespace, None, format!("{other:?}"), Found::Different),
    }
}

fn new(kind: DeviationKind, namespace: Option<&NamespaceName>, what: String, found: Found) -> Deviation {
    let namespace = namespace.map(ToString::to_string).unwrap_or_default();
    Deviation { kind, namespace, what, found, detail: String::new() }
}

/// Something that is missing, or there as something else.
fn replaced(
    kind: DeviationKind,
    namespace: &NamespaceName,
    what: String,
    other: Option<String>,
) -> Deviation {
    let found = if other.is_some() { Found::Different } else { Found::Missing };
    Deviation { detail: other.unwrap_or_default(), ..new(kind, Some(namespace), what, found) }
}

fn namespace(name: &NamespaceName) -> String {
    format!("namespace {name}")
}

fn parameter(
    namespace: &NamespaceName,
    name: &str,
    wanted: &str,
    held: Option<&String>,
) -> Option<Deviation> {
    let what = format!("parameter {name}={wanted}");
    match held {
        None if name.starts_with("net.ipv6.") => None,
        None => Some(new(DeviationKind::Sysctl, Some(namespace), what, Found::Missing)),
        Some(held) => {
            let found = new(DeviationKind::Sysctl, Some(namespace), what, Found::Different);
            Some(Deviation { detail: format!("it is {held}"), ..found })
        }
    }
}

/// The properties of a link that are not as wanted.
fn properties(held: &Link, wanted: &Link) -> String {
    let mut found = Vec::new();
    if held.up != wanted.up {
        found.push(if held.up { "it is up".to_owned() } else { "it is down".to_owned() });
    }
    if wanted.mtu != 0 && held.mtu != wanted.mtu {
        found.push(format!("its MTU is {} instead of {}", held.mtu, wanted.mtu));
    }
    if let Some((mac, held)) = wanted.mac.zip(held.mac).filter(|(wanted, held)| wanted != held) {
        found.push(format!("its address is {held} instead of {mac}"));
    }
    if held.master != wanted.master {
        let of = |master: &Option<String>| master.clone().unwrap_or_else(|| "no bridge".to_owned());
        found.push(format!("it is a port of {} instead of {}", of(&held.master), of(&wanted.master)));
    }
    if let (LinkKind::Veth { .. }, true) = (&wanted.kind, found.is_empty()) {
        found.push("its other end is lost".to_owned());
    }
    found.join(", ")
}

fn route(route: &Route) -> String {
    let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
    let table = match route.table {
        shoal_model::netns::MAIN_TABLE => String::new(),
        other => format!(" in table {other}"),
    };
    let to = if route.destination.prefix_len() == 0 {
        "default".to_owned()
    } else {
        route.destination.to_string()
    };
    format!("route {to}{via} on {}{table}", route.link)
}

fn rule(rule: &Rule) -> String {
    format!("rule {}: from {} lookup {}", rule.priority, rule.from, rule.table)
}
