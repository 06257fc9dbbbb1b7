//! The namespaces of a node as Shoal lays them out, and the operations that make them from nothing.

use shoal_model::Mac;
use shoal_model::netns::{
    FirewallRule, Forwarding, Link, LinkKind, MAIN_TABLE, Namespace, NamespaceName, Namespaces, Neighbour,
    NetOp, Route, Rule,
};
use shoal_model::spec::Protocol;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) const OVERLAY: &str = "1-ijakqjmk06";
pub(crate) const TASK: &str = "3b6468726cc0";
pub(crate) const INGRESS: &str = "ingress_sbox";
pub(crate) const VXLAN_PORT: u16 = 4789;

pub(crate) fn named(name: &str) -> NamespaceName {
    NamespaceName::Named(name.into())
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac([0x02, 0x42, 0x0a, 0, 0, last])
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn link(kind: LinkKind, last: u8, mtu: u32, addresses: &[&str]) -> Link {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Link { kind, mac: Some(mac(last)), mtu, master: None, addresses, up: true }
}

pub(crate) fn port(kind: LinkKind, last: u8, mtu: u32, bridge: &str) -> Link {
    Link { master: Some(bridge.into()), ..link(kind, last, mtu, &[]) }
}

pub(crate) fn pair(namespace: NamespaceName, peer: &str) -> LinkKind {
    LinkKind::Veth { peer_namespace: namespace, peer: peer.into() }
}

pub(crate) fn loopback(addresses: &[&str]) -> Link {
    Link { mac: None, ..link(LinkKind::Loopback, 0, 0, addresses) }
}

pub(crate) fn vxlan(vni: u32, local: IpAddr) -> LinkKind {
    LinkKind::Vxlan { vni, port: VXLAN_PORT, local }
}

pub(crate) fn route(destination: &str, via: Option<&str>, link: &str, table: u32) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        via: via.map(ip),
        link: link.into(),
        source: None,
        table,
    }
}

/// What tells one node from another.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    /// Its address on the LAN.
    pub(crate) address: &'static str,
    /// Last byte of its ingress endpoint's address, 2 or 3; the task's is that plus 10, the gateway's plus 100.
    pub(crate) number: u8,
    /// The other node's.
    pub(crate) other: (&'static str, u8),
}

pub(crate) const FIRST: Node = Node { address: "192.168.50.11", number: 2, other: ("192.168.50.12", 3) };
pub(crate) const SECOND: Node = Node { address: "192.168.50.12", number: 3, other: ("192.168.50.11", 2) };

pub(crate) fn declared(node: Node) -> Namespaces {
    let mut all = Namespaces::new();
    all.insert(NamespaceName::Host, host(node));
    all.insert(named(OVERLAY), overlay(node));
    all.insert(named(INGRESS), ingress(node));
    all.insert(named(TASK), task(node));
    all
}

fn host(node: Node) -> Namespace {
    let mut host = Namespace::default();
    let bridge = link(LinkKind::Bridge, 200, 1500, &["172.18.0.1/16"]);
    host.links.insert("docker_gwbridge".into(), bridge);
    host.links
        .insert("veth00000001".into(), port(pair(named(INGRESS), "eth1"), 201, 1500, "docker_gwbridge"));
    host.links.insert("veth00000002".into(), port(pair(named(TASK), "eth1"), 202, 1500, "docker_gwbridge"));
    let mut to_ingress = route("10.0.0.0/24", Some("172.18.0.2"), "docker_gwbridge", MAIN_TABLE);
    to_ingress.source = Some(ip(node.address));
    host.routes.insert(to_ingress);
    host.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
    host.firewall = vec![
        FirewallRule::Masquerade {
            source: "172.18.0.0/16".parse().unwrap(),
            bridge: "docker_gwbridge".into(),
        },
        FirewallRule::Isolate { bridge: "docker_gwbridge".into() },
        FirewallRule::HostPort {
            protocol: Protocol::Tcp,
            published: 8080,
            address: ip("172.18.0.3"),
            target: 80,
            client: None,
            at: None,
        },
    ];
    host
}

fn overlay(node: Node) -> Namespace {
    let mut overlay = Namespace::default();
    let number = node.number;
    overlay.links.insert("lo".into(), loopback(&[]));
    let gateway = format!("10.0.0.{}/24", number + 100);
    overlay.links.insert("br0".into(), link(LinkKind::Bridge, number + 100, 1450, &[&gateway]));
    overlay.links.insert("vxlan0".into(), port(vxlan(4096, ip(node.address)), number + 110, 1450, "br0"));
    overlay
        .links
        .insert("veth0000000a".into(), port(pair(named(INGRESS), "eth0"), number + 120, 1450, "br0"));
    overlay.links.insert("veth0000000b".into(), port(pair(named(TASK), "eth0"), number + 130, 1450, "br0"));
    for last in [node.other.1, node.other.1 + 10] {
        overlay.neighbours.insert(Neighbour {
            link: "vxlan0".into(),
            address: ip(&format!("10.0.0.{last}")),
            mac: mac(last),
        });
        let tunnel = ip(node.other.0);
        overlay.forwarding.insert(Forwarding { link: "vxlan0".into(), mac: mac(last), tunnel });
    }
    overlay
}

fn ingress(node: Node) -> Namespace {
    let mut ingress = Namespace::default();
    let number = node.number;
    ingress.links.insert("lo".into(), loopback(&[]));
    let own = format!("10.0.0.{number}/24");
    let eth0 = link(pair(named(OVERLAY), "veth0000000a"), number, 1450, &[&own, "10.0.0.50/32"]);
    ingress.links.insert("eth0".into(), eth0);
    let eth1 = link(pair(NamespaceName::Host, "veth00000001"), 203, 1500, &["172.18.0.2/16"]);
    ingress.links.insert("eth1".into(), eth1);
    ingress.routes.insert(route("0.0.0.0/0", Some("172.18.0.1"), "eth1", MAIN_TABLE));
    ingress.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
    ingress
}

fn task(node: Node) -> Namespace {
    let mut task = Namespace::default();
    let last = node.number + 10;
    task.links.insert("lo".into(), loopback(&["10.0.1.2/32", "10.0.0.50/32"]));
    let own = format!("10.0.0.{last}/24");
    task.links.insert("eth0".into(), link(pair(named(OVERLAY), "veth0000000b"), last, 1450, &[&own]));
    let eth1 = link(pair(NamespaceName::Host, "veth00000002"), 204, 1500, &["172.18.0.3/16"]);
    task.links.insert("eth1".into(), eth1);
    task.routes.insert(route("0.0.0.0/0", Some("172.18.0.1"), "eth1", MAIN_TABLE));
    task.routes.insert(route("0.0.0.0/0", Some(&format!("10.0.0.{}", node.number)), "eth0", 100));
    let from = format!("10.0.0.{last}/32").parse().unwrap();
    task.rules.insert(Rule { from, mark: None, table: 100, priority: 100 });
    task.sysctls.insert("net.ipv4.conf.eth0.rp_filter".into(), "0".into());
    task
}

/// The operations that make all of this from nothing, in an order that works.
pub(crate) fn ops_for(all: &Namespaces) -> Vec<NetOp> {
    let mut ops: Vec<NetOp> = all
        .keys()
        .filter(|name| **name != NamespaceName::Host)
        .map(|name| NetOp::CreateNamespace(name.clone()))
        .collect();
    ops.extend(link_ops(all));
    for (name, namespace) in all {
        let own = || name.clone();
        ops.extend(namespace.routes.iter().map(|r| NetOp::AddRoute(own(), r.clone())));
        ops.extend(namespace.rules.iter().map(|r| NetOp::AddRule(own(), r.clone())));
        ops.extend(namespace.neighbours.iter().map(|n| NetOp::AddNeighbour(own(), n.clone())));
        ops.extend(namespace.forwarding.iter().map(|f| NetOp::AddForwarding(own(), f.clone())));
        ops.extend(namespace.sysctls.iter().map(|(parameter, value)| NetOp::SetSysctl {
            namespace: own(),
            name: parameter.clone(),
            value: value.clone(),
        }));
        ops.push(NetOp::SetFirewall(own(), namespace.firewall.clone()));
    }
    ops
}

/// Bridges first, for the others are their ports; of a pair, one end names the other.
fn link_ops(all: &Namespaces) -> Vec<NetOp> {
    let mut bridges = Vec::new();
    let mut others = Vec::new();
    let mut paired = BTreeSet::new();
    for (namespace, content) in all {
        for (name, link) in &content.links {
            let mut peer_link = None;
            if let LinkKind::Veth { peer_namespace, peer } = &link.kind {
                if !paired.insert((namespace.clone(), name.clone())) {
                    continue;
                }
                paired.insert((peer_namespace.clone(), peer.clone()));
                peer_link = Some(Box::new(all[peer_namespace].links[peer].clone()));
            }
            let list = if link.kind == LinkKind::Bridge { &mut bridges } else { &mut others };
            list.push(NetOp::CreateLink {
                namespace: namespace.clone(),
                name: name.clone(),
                link: link.clone(),
                peer_link,
            });
        }
    }
    bridges.into_iter().chain(others).collect()
}
