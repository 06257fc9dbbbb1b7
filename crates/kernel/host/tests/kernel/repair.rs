//! Whatever somebody else does to Shoal's things is seen, and the operation for it repairs it.

use crate::layout::{FIRST, INGRESS, OVERLAY, TASK, declared, named, ops_for, route};
use crate::place::Place;
use crate::round_trip::uplink;
use shoal_model::netns::{MAIN_TABLE, NamespaceName, Namespaces, NetOp};

/// Makes the node, lets `damage` happen, checks that it is seen, applies `repair` and checks that all is well.
fn repaired(damage: &[(&str, &str)], repair: impl FnOnce(&Namespaces) -> Vec<NetOp>) {
    let place = Place::new();
    uplink(&place, FIRST.address);
    let declared = declared(FIRST);
    place.apply(&ops_for(&declared));
    for (namespace, command) in damage {
        place.run(namespace, command);
    }
    assert_ne!(place.observe(&declared), declared, "{damage:?} is not seen");
    place.apply(&repair(&declared));
    assert_eq!(place.observe(&declared), declared, "{damage:?} is not repaired");
}

#[test]
fn forwarding_entries_and_neighbours() {
    let damage = [
        (OVERLAY, "bridge fdb replace 02:42:0a:00:00:03 dev vxlan0 dst 192.168.50.99 self permanent"),
        (OVERLAY, "ip neigh replace 10.0.0.13 lladdr 02:42:0a:00:00:77 dev vxlan0 nud permanent"),
        (OVERLAY, "ip neigh del 10.0.0.3 dev vxlan0"),
    ];
    repaired(&damage, |declared| {
        let overlay = &declared[&named(OVERLAY)];
        let forwarding = overlay.forwarding.iter().map(|f| NetOp::AddForwarding(named(OVERLAY), f.clone()));
        let neighbours = overlay.neighbours.iter().map(|n| NetOp::AddNeighbour(named(OVERLAY), n.clone()));
        forwarding.chain(neighbours).collect()
    });
}

#[test]
fn entries_that_do_not_belong() {
    let place = Place::new();
    uplink(&place, FIRST.address);
    let declared = declared(FIRST);
    place.apply(&ops_for(&declared));
    place.run(OVERLAY, "bridge fdb append 02:42:0a:00:00:44 dev vxlan0 dst 192.168.50.44 self permanent");
    place.run(OVERLAY, "ip neigh add 10.0.0.44 lladdr 02:42:0a:00:00:44 dev vxlan0 nud permanent");
    place.run(TASK, "ip addr add 10.9.9.9/32 dev lo && ip route add 10.8.0.0/16 via 172.18.0.1 table 7");
    place.run(TASK, "ip rule add from 10.7.0.0/16 lookup 7 priority 70");
    let seen = place.observe(&declared);
    let mut ops = Vec::new();
    for (name, namespace) in &declared {
        let now = &seen[name];
        ops.extend(
            now.forwarding
                .difference(&namespace.forwarding)
                .map(|f| NetOp::RemoveForwarding(name.clone(), f.clone())),
        );
        ops.extend(
            now.neighbours
                .difference(&namespace.neighbours)
                .map(|n| NetOp::RemoveNeighbour(name.clone(), n.clone())),
        );
        ops.extend(
            now.rules.difference(&namespace.rules).map(|r| NetOp::RemoveRule(name.clone(), r.clone())),
        );
        ops.extend(
            now.routes.difference(&namespace.routes).map(|r| NetOp::RemoveRoute(name.clone(), r.clone())),
        );
        for (link, value) in &now.links {
            let extra = value.addresses.difference(&namespace.links[link].addresses);
            ops.extend(extra.map(|address| NetOp::RemoveAddress {
                namespace: name.clone(),
                link: link.clone(),
                address: *address,
            }));
        }
    }
    assert_eq!(ops.len(), 5, "{ops:?}");
    place.apply(&ops);
    assert_eq!(place.observe(&declared), declared);
    // Once more: what is not there is removed without complaint.
    place.apply(&ops);
}

#[test]
fn link_properties() {
    let damage = [
        (TASK, "ip link set eth0 down"),
        (OVERLAY, "ip link set vxlan0 nomaster"),
        ("host", "ip link set docker_gwbridge mtu 1400"),
        (INGRESS, "ip link set eth1 address 02:00:00:00:00:01"),
    ];
    repaired(&damage, |declared| {
        let set = |namespace: NamespaceName, name: &str| NetOp::SetLink {
            link: declared[&namespace].links[name].clone(),
            name: name.into(),
            namespace,
        };
        let mut ops = vec![
            set(named(TASK), "eth0"),
            set(named(OVERLAY), "vxlan0"),
            set(NamespaceName::Host, "docker_gwbridge"),
            set(named(INGRESS), "eth1"),
        ];
        // Taking a link down removes its routes.
        ops.extend(declared[&named(TASK)].routes.iter().map(|r| NetOp::AddRoute(named(TASK), r.clone())));
        ops
    });
}

#[test]
fn addresses_routes_and_rules() {
    let damage = [
        (
            TASK,
            "ip addr del 10.0.1.2/32 dev lo && ip rule del priority 100 && ip route del default table 100",
        ),
        (INGRESS, "ip route del default"),
        ("host", "ip route replace 10.0.0.0/24 via 172.18.0.9"),
    ];
    repaired(&damage, ops_for);
}

#[test]
fn parameters_and_packet_filter() {
    let damage = [
        (INGRESS, "echo 0 > /proc/sys/net/ipv4/ip_forward"),
        ("host", "nft flush chain inet shoal postrouting"),
    ];
    repaired(&damage, |declared| {
        let host = &declared[&NamespaceName::Host];
        vec![
            NetOp::SetSysctl {
                namespace: named(INGRESS),
                name: "net.ipv4.ip_forward".into(),
                value: "1".into(),
            },
            NetOp::SetFirewall(NamespaceName::Host, host.firewall.clone()),
        ]
    });
}

#[test]
fn a_lost_namespace_and_its_pairs() {
    let place = Place::new();
    uplink(&place, FIRST.address);
    let declared = declared(FIRST);
    place.apply(&ops_for(&declared));
    shoal_host::remove_namespace(&place.file(TASK)).unwrap();
    assert_ne!(place.observe(&declared), declared);
    // The kernel drops the other ends some time later, perhaps in the middle of this; creating copes with both.
    place.apply(&ops_for(&declared));
    assert_eq!(place.observe(&declared), declared);
}

#[test]
fn a_pair_joined_to_the_wrong_end() {
    let place = Place::new();
    uplink(&place, FIRST.address);
    let declared = declared(FIRST);
    place.apply(&ops_for(&declared));
    place.run(TASK, "ip link del eth0 && ip link add eth0 type veth peer name other");
    let seen = place.observe(&declared);
    assert_ne!(seen[&named(TASK)].links["eth0"].kind, declared[&named(TASK)].links["eth0"].kind);
    let remove = NetOp::RemoveLink { namespace: named(TASK), name: "other".into() };
    place.apply(&[vec![remove], ops_for(&declared)].concat());
    assert_eq!(place.observe(&declared), declared);
}

#[test]
fn a_route_is_replaced_in_place() {
    let place = Place::new();
    uplink(&place, FIRST.address);
    let declared = declared(FIRST);
    place.apply(&ops_for(&declared));
    let elsewhere = route("0.0.0.0/0", Some("10.0.0.2"), "eth0", MAIN_TABLE);
    place.apply(&[NetOp::AddRoute(named(TASK), elsewhere.clone())]);
    let routes = place.observe(&declared)[&named(TASK)].routes.clone();
    assert!(routes.contains(&elsewhere));
    assert_eq!(routes.iter().filter(|r| r.table == MAIN_TABLE).count(), 1);
}
