//! Namespaces and repairs as text that a person can compare with what `ip` prints.

use shoal_model::netns::{FirewallRule, Link, LinkKind, Namespaces, NetOp, Route};
use std::fmt::Write as _;

pub(crate) fn namespaces(namespaces: &Namespaces) -> String {
    let mut text = String::new();
    for (name, held) in namespaces {
        writeln!(text, "{name}").unwrap();
        for (name, link) in &held.links {
            writeln!(text, "  link {name} {}", self::link(link)).unwrap();
        }
        for route in &held.routes {
            writeln!(text, "  route {}", self::route(route)).unwrap();
        }
        for rule in &held.rules {
            let mark = rule.mark.map(|mark| format!(" fwmark {mark}")).unwrap_or_default();
            writeln!(text, "  rule {} from {}{mark} lookup {}", rule.priority, rule.from, rule.table)
                .unwrap();
        }
        for n in &held.neighbours {
            writeln!(text, "  neigh {} dev {} lladdr {}", n.address, n.link, n.mac).unwrap();
        }
        for f in &held.forwarding {
            writeln!(text, "  fdb {} dev {} dst {}", f.mac, f.link, f.tunnel).unwrap();
        }
        for (name, value) in &held.sysctls {
            writeln!(text, "  sysctl {name}={value}").unwrap();
        }
        for rule in &held.firewall {
            writeln!(text, "  nft {}", firewall(rule)).unwrap();
        }
    }
    text
}

fn link(link: &Link) -> String {
    let mut text = match &link.kind {
        LinkKind::Loopback => "loopback".to_owned(),
        LinkKind::Bridge => "bridge".to_owned(),
        LinkKind::Vxlan { vni, port, local } => format!("vxlan id {vni} dstport {port} local {local}"),
        LinkKind::Veth { peer_namespace, peer } => format!("veth peer {peer_namespace}/{peer}"),
    };
    if let Some(mac) = link.mac {
        write!(text, " {mac}").unwrap();
    }
    if link.mtu != 0 {
        write!(text, " mtu {}", link.mtu).unwrap();
    }
    if let Some(master) = &link.master {
        write!(text, " master {master}").unwrap();
    }
    text.push_str(if link.up { " up" } else { " down" });
    for address in &link.addresses {
        write!(text, " {address}").unwrap();
    }
    text
}

fn route(route: &Route) -> String {
    let mut text = route.destination.to_string();
    if let Some(via) = route.via {
        write!(text, " via {via}").unwrap();
    }
    write!(text, " dev {}", route.link).unwrap();
    if let Some(source) = route.source {
        write!(text, " src {source}").unwrap();
    }
    if route.table != shoal_model::netns::MAIN_TABLE {
        write!(text, " table {}", route.table).unwrap();
    }
    text
}

pub(crate) fn firewall(rule: &FirewallRule) -> String {
    match rule {
        FirewallRule::Masquerade { source, bridge } => format!("masquerade {source} unless to {bridge}"),
        FirewallRule::Isolate { bridge } => format!("isolate the ports of {bridge}"),
        FirewallRule::HostPort { protocol, published, address, target, client, at } => {
            let mut text = format!("{protocol} port {published} to {address}:{target}");
            if let Some(client) = client {
                write!(text, " from {client}").unwrap();
            }
            if let Some(at) = at {
                write!(text, " at {at}").unwrap();
            }
            text
        }
        FirewallRule::ClosedPort { protocol, published, at } => {
            let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
            format!("{protocol} port {published} closed{at}")
        }
    }
}

pub(crate) fn ops(ops: &[NetOp]) -> String {
    ops.iter().map(|op| op_line(op) + "\n").collect()
}

fn op_line(op: &NetOp) -> String {
    match op {
        NetOp::CreateNamespace(n) => format!("+ namespace {n}"),
        NetOp::RemoveNamespace(n) => format!("- namespace {n}"),
        NetOp::CreateLink { namespace, name, link, peer_link } => {
            let peer = if peer_link.is_some() { " (both ends)" } else { "" };
            format!("+ link {namespace}/{name} {}{peer}", self::link(link))
        }
        NetOp::RemoveLink { namespace, name } => format!("- link {namespace}/{name}"),
        NetOp::SetLink { namespace, name, link } => format!("= link {namespace}/{name} {}", self::link(link)),
        NetOp::AddAddress { namespace, link, address } => format!("+ address {namespace}/{link} {address}"),
        NetOp::RemoveAddress { namespace, link, address } => {
            format!("- address {namespace}/{link} {address}")
        }
        NetOp::AddRoute(n, r) => format!("+ route {n} {}", route(r)),
        NetOp::RemoveRoute(n, r) => format!("- route {n} {}", route(r)),
        NetOp::AddRule(n, r) => format!("+ rule {n} from {} lookup {}", r.from, r.table),
        NetOp::RemoveRule(n, r) => format!("- rule {n} from {} lookup {}", r.from, r.table),
        NetOp::AddNeighbour(n, e) => format!("+ neigh {n} {} {}", e.address, e.mac),
        NetOp::RemoveNeighbour(n, e) => format!("- neigh {n} {} {}", e.address, e.mac),
        NetOp::AddForwarding(n, e) => format!("+ fdb {n} {} dst {}", e.mac, e.tunnel),
        NetOp::RemoveForwarding(n, e) => format!("- fdb {n} {} dst {}", e.mac, e.tunnel),
        NetOp::SetSysctl { namespace, name, value } => format!("= sysctl {namespace} {name}={value}"),
        NetOp::SetFirewall(n, rules) => {
            let rules: Vec<String> = rules.iter().map(firewall).collect();
            format!("= nft {n} [{}]", rules.join("; "))
        }
    }
}
