//! IPv6 on an overlay, over IPv6: who answers for the neighbours, which addresses are used, and at once.

use crate::layout::{self, ip, link, mac, named, ops_for, pair, vxlan};
use crate::place::{Place, run_in};
use shoal_model::netns::{Forwarding, LinkKind, Namespace, NamespaceName, Namespaces, Neighbour};

/// What IPv6 leaves of 1500 bytes: VXLAN, UDP and Ethernet as ever, and a header of 40 bytes.
const MTU: u32 = 1430;

/// A node with a task on the overlay `fd00:1::/64`; the other node's task is a declared neighbour.
fn node(number: u8, other: u8) -> Namespaces {
    let mut overlay = Namespace::default();
    overlay.links.insert("lo".into(), layout::loopback(&[]));
    let gateway = link(LinkKind::Bridge, 40 + number, MTU, &["fd00:1::1/64", "fd00:1::50/128"]);
    overlay.links.insert("br0".into(), gateway);
    let local = ip(&format!("fd50::{number}"));
    overlay.links.insert("vxlan0".into(), layout::port(vxlan(4100, local), 50 + number, MTU, "br0"));
    overlay.links.insert("veth1".into(), layout::port(pair(named("task"), "eth0"), 60 + number, MTU, "br0"));
    let far = mac(10 + other);
    let address = ip(&format!("fd00:1::1{other}"));
    overlay.neighbours.insert(Neighbour { link: "vxlan0".into(), address, mac: far });
    let tunnel = ip(&format!("fd50::{other}"));
    overlay.forwarding.insert(Forwarding { link: "vxlan0".into(), mac: far, tunnel });
    let mut task = Namespace::default();
    task.links.insert("lo".into(), layout::loopback(&["fd00:1::50/128"]));
    let own = format!("fd00:1::1{number}/64");
    task.links.insert("eth0".into(), link(pair(named("1-six"), "veth1"), 10 + number, MTU, &[&own]));
    for link in ["br0", "vxlan0"] {
        overlay.sysctls.insert(format!("net.ipv6.conf.{link}.disable_ipv6"), "0".into());
    }
    for (parameter, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
        task.sysctls.insert(format!("net.ipv6.conf.eth0.{parameter}"), value.into());
    }
    [(NamespaceName::Host, Namespace::default()), (named("1-six"), overlay), (named("task"), task)].into()
}

#[test]
fn tasks_reach_each_other_over_ipv6_at_once() {
    let (one, two) = (Place::new(), Place::new());
    let lan = one.foreign("lan");
    run_in(&lan, "ip link add lan type bridge mcast_snooping 0 && ip link set lan up");
    for (place, number) in [(&one, 2), (&two, 3)] {
        let (ok, text) = run_in(
            &lan,
            &format!(
                "ip link add port{number} type veth peer name up0 netns {} && \
                 ip link set port{number} master lan up",
                place.host_file().display()
            ),
        );
        assert!(ok, "{text}");
        place.run("host", &format!("ip addr add fd50::{number}/64 dev up0 nodad && ip link set up0 up"));
    }
    for (place, declared) in [(&one, node(2, 3)), (&two, node(3, 2))] {
        place.apply(&ops_for(&declared));
        let shown = place.run("task", "ip -6 -o addr show dev eth0 scope global");
        assert!(shown.contains("fd00:1::1") && !shown.contains("tentative"), "usable at once: {shown}");
        assert_eq!(place.observe(&declared), declared);
    }
    one.run("task", "ping -6 -c1 -W5 fd00:1::13");
    // The tunnel's device answers neighbour solicitations itself: none crosses the tunnel, where nobody would hear it.
    let solicitations = two.run("task", "grep Icmp6InNeighborSolicits /proc/net/snmp6");
    assert_eq!(solicitations.split_whitespace().last(), Some("0"), "{solicitations}");
    // What the overlay promises fits into the tunnel, whole.
    one.run("task", "ping -6 -c1 -W5 -M do -s 1382 fd00:1::13");
    let unknown = one.attempt("task", "ping -6 -c1 -W1 fd00:1::99");
    assert!(!unknown.0, "nobody has this address");
    virtual_addresses(&one);
}

/// The node's own bridge answers for virtual addresses, and nobody speaks from one unasked.
fn virtual_addresses(node: &Place) {
    node.run("task", "ip addr del fd00:1::50/128 dev lo");
    node.run("task", "ping -6 -c1 -W5 fd00:1::50");
    let shown = node.run("1-six", "ip -6 -o addr show dev br0");
    let line = |address: &str| shown.lines().find(|line| line.contains(address)).unwrap().to_owned();
    assert!(line("fd00:1::50/128").contains("deprecated"), "{shown}");
    assert!(!line("fd00:1::1/64").contains("deprecated"), "{shown}");
    let chosen = node.run("1-six", "ip -6 route get fd00:1::12");
    assert!(chosen.contains("src fd00:1::1 "), "{chosen}");
}
