//! What was declared and made is observed in exactly the declared form.

use crate::layout::{self, FIRST, declared, ip, link, mac, named, ops_for, pair, route, vxlan};
use crate::place::Place;
use shoal_model::netns::{
    Forwarding, LinkKind, MAIN_TABLE, Namespace, NamespaceName, Namespaces, Neighbour, NetOp, Rule,
};

/// A LAN on which the host has its address.
pub(crate) fn uplink(place: &Place, address: &str) {
    place.foreign("lan");
    place.run(
        "host",
        &format!("ip link add up0 type bridge && ip addr add {address}/24 dev up0 && ip link set up0 up"),
    );
}

fn node() -> (Place, Namespaces) {
    let place = Place::new();
    uplink(&place, FIRST.address);
    (place, declared(FIRST))
}

#[test]
fn a_whole_node_is_observed_as_declared() {
    let (place, declared) = node();
    place.apply(&ops_for(&declared));
    assert_eq!(place.observe(&declared), declared);
}

#[test]
fn carrying_out_everything_twice_changes_nothing() {
    let (place, declared) = node();
    let ops = ops_for(&declared);
    place.apply(&ops);
    let numbers = |namespace: &str| place.run(namespace, "ip -o link | cut -d: -f1,2 | sort");
    let before: Vec<String> = ["host", layout::OVERLAY, layout::TASK].map(numbers).into();
    place.apply(&ops);
    assert_eq!(place.observe(&declared), declared);
    assert_eq!(before, ["host", layout::OVERLAY, layout::TASK].map(numbers), "no link was made anew");
}

#[test]
fn removal_leaves_nothing() {
    let (place, declared) = node();
    place.apply(&ops_for(&declared));
    let mut ops: Vec<NetOp> = declared
        .keys()
        .filter(|name| **name != NamespaceName::Host)
        .map(|name| NetOp::RemoveNamespace(name.clone()))
        .collect();
    ops.push(NetOp::SetFirewall(NamespaceName::Host, Vec::new()));
    for name in ["veth00000001", "veth00000002", "docker_gwbridge"] {
        ops.push(NetOp::RemoveLink { namespace: NamespaceName::Host, name: name.into() });
    }
    place.apply(&ops);
    place.apply(&ops);
    let left = place.observe(&Namespaces::new());
    assert_eq!(left, Namespaces::from([(NamespaceName::Host, Namespace::default())]));
    assert_eq!(place.run("host", "nft list ruleset"), "");
    let links = place.run("host", "ip -o link | cut -d: -f2 | sort | xargs");
    assert_eq!(links.trim(), "lo up0");
    assert!(!place.file(layout::TASK).exists());
}

#[test]
fn ipv6_is_observed_as_declared() {
    let place = Place::new();
    place.run(
        "host",
        "ip link add up0 type bridge && ip addr add fd00::11/64 dev up0 nodad && ip link set up0 up",
    );
    let mut overlay = Namespace::default();
    overlay.links.insert("lo".into(), layout::loopback(&["fd01::5/128"]));
    overlay.links.insert("br0".into(), link(LinkKind::Bridge, 1, 1430, &["fd00:1::1/64", "10.5.0.1/24"]));
    let tunnel = layout::port(vxlan(4100, ip("fd00::11")), 2, 1430, "br0");
    overlay.links.insert("vxlan0".into(), tunnel);
    overlay.links.insert("veth1".into(), layout::port(pair(named("six"), "eth0"), 3, 1430, "br0"));
    let far = Neighbour { link: "vxlan0".into(), address: ip("fd00:1::9"), mac: mac(9) };
    overlay.neighbours.insert(far);
    let entry = Forwarding { link: "vxlan0".into(), mac: mac(9), tunnel: ip("fd00::12") };
    overlay.forwarding.insert(entry);
    let mut task = Namespace::default();
    task.links.insert("lo".into(), layout::loopback(&[]));
    task.links.insert("eth0".into(), link(pair(named("1-six"), "veth1"), 4, 1430, &["fd00:1::2/64"]));
    task.routes.insert(route("::/0", Some("fd00:1::1"), "eth0", MAIN_TABLE));
    task.routes.insert(route("fd00:7::/64", None, "eth0", 1000));
    task.rules.insert(Rule { from: "fd00:1::2/128".parse().unwrap(), mark: None, table: 1000, priority: 50 });
    task.rules.insert(Rule {
        from: "0.0.0.0/0".parse().unwrap(),
        mark: Some(0x0a00_0002),
        table: 0x0a00_0002,
        priority: 90,
    });
    let declared = Namespaces::from([
        (NamespaceName::Host, Namespace::default()),
        (named("1-six"), overlay),
        (named("six"), task),
    ]);
    place.apply(&ops_for(&declared));
    place.apply(&ops_for(&declared));
    assert_eq!(place.observe(&declared), declared);
}

#[test]
fn an_address_left_open_is_given_by_the_kernel_and_stays() {
    let place = Place::new();
    let mut open = link(LinkKind::Bridge, 0, 1500, &[]);
    open.mac = None;
    let create = |name: &str, link: &shoal_model::netns::Link| NetOp::CreateLink {
        namespace: named("one"),
        name: name.into(),
        link: link.clone(),
        peer_link: None,
    };
    place.apply(&[NetOp::CreateNamespace(named("one")), create("br0", &open)]);
    let address = || place.observe(&Namespaces::new())[&named("one")].links["br0"].mac;
    let before = address();
    assert!(before.is_some());
    place.run(
        "one",
        "ip link add a0 address 00:00:00:00:00:01 type veth peer name a1 && ip link set a0 master br0 up",
    );
    assert_eq!(address(), before, "a port with a lower address does not lend it to the bridge");
}
