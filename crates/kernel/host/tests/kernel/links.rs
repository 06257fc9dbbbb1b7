//! Links and namespaces one by one, and the words of what fails.

use crate::layout::{ip, link, loopback, mac, named, pair, port, vxlan};
use crate::place::Place;
use shoal_host::{Host, HostConfig, check_requirements, create_namespace, in_namespace, remove_namespace};
use shoal_model::netns::{Forwarding, LinkKind, Namespace, NamespaceName, Namespaces, NetOp};
use std::path::Path;

fn create(namespace: NamespaceName, name: &str, link: shoal_model::netns::Link) -> NetOp {
    NetOp::CreateLink { namespace, name: name.into(), link, peer_link: None }
}

#[test]
fn this_machine_can_do_all_that_is_needed() {
    assert_eq!(check_requirements(), Ok(()));
}

#[test]
fn a_namespace_is_made_entered_and_removed() {
    let place = Place::new();
    let name = named("one");
    place.apply(&[NetOp::CreateNamespace(name.clone()), NetOp::CreateNamespace(name.clone())]);
    let links = place.run("one", "ip -o link");
    assert!(links.contains("lo: <LOOPBACK,UP") && links.lines().count() == 1, "{links}");
    let seen = place.observe(&Namespaces::new());
    assert_eq!(seen[&name].links["lo"], loopback(&[]));
    place.apply(&[NetOp::RemoveNamespace(name.clone()), NetOp::RemoveNamespace(name)]);
    assert!(!place.file("one").exists());
}

#[test]
fn an_empty_file_left_by_a_crash_is_no_namespace_and_no_obstacle() {
    let place = Place::new();
    std::fs::write(place.file("one"), "").unwrap();
    std::fs::write(place.file("two"), "").unwrap();
    assert!(!place.observe(&Namespaces::new()).contains_key(&named("one")));
    place.apply(&[NetOp::CreateNamespace(named("one"))]);
    Host::open(place.config()).unwrap();
    assert!(place.observe(&Namespaces::new()).contains_key(&named("one")));
    assert!(!place.file("two").exists(), "the next start removes it");
}

#[test]
fn entering_leaves_the_caller_where_it_was() {
    let place = Place::new();
    let of_thread = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = of_thread();
    let inside = in_namespace(Some(&place.host_file()), of_thread).unwrap();
    assert_ne!(inside, before);
    assert_eq!(of_thread(), before);
    assert_eq!(in_namespace(None, of_thread).unwrap(), std::fs::read_link("/proc/self/ns/net").unwrap());
    assert!(in_namespace(Some(Path::new("/nonexistent/ns")), of_thread).is_err());
}

#[test]
fn a_second_opening_finds_everything_again() {
    let place = Place::new();
    place.apply(&[NetOp::CreateNamespace(named("one"))]);
    let again = Host::open(place.config()).unwrap();
    assert_eq!(again.observe(&Namespaces::new()).unwrap(), place.observe(&Namespaces::new()));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = place.config().netns_root;
    let of_root = mounts.lines().filter(|line| line.split(' ').nth(4) == root.to_str()).count();
    assert_eq!(of_root, 1);
}

#[test]
fn foreign_links_of_the_host_are_neither_seen_nor_touched() {
    let place = Place::new();
    place.run("host", "ip link add docker_gwbridge type bridge && ip link add v0 type veth peer name v1");
    let bridge = link(LinkKind::Bridge, 1, 1500, &["172.18.0.1/16"]);
    let error =
        place.host().apply(&create(NamespaceName::Host, "docker_gwbridge", bridge.clone())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create link docker_gwbridge in namespace host: \
         a link of that name exists and is not Shoal's (its alias is \"\")"
    );
    let set = NetOp::SetLink { namespace: NamespaceName::Host, name: "v0".into(), link: bridge };
    assert!(place.host().apply(&set).is_err());
    let remove = NetOp::RemoveLink { namespace: NamespaceName::Host, name: "v0".into() };
    assert!(place.host().apply(&remove).is_err());
    place.run("host", "ip link show v0");
    assert_eq!(
        place.observe(&Namespaces::new()),
        Namespaces::from([(NamespaceName::Host, Namespace::default())])
    );
}

#[test]
fn our_links_in_the_host_carry_our_mark() {
    let place = Place::new();
    let near = link(pair(named("one"), "eth0"), 1, 1500, &[]);
    let far = link(pair(NamespaceName::Host, "veth1"), 2, 1500, &[]);
    let ops = [
        NetOp::CreateNamespace(named("one")),
        create(NamespaceName::Host, "br9", link(LinkKind::Bridge, 3, 1500, &[])),
        NetOp::CreateLink {
            namespace: named("one"),
            name: "eth0".into(),
            link: far.clone(),
            peer_link: Some(Box::new(near.clone())),
        },
    ];
    place.apply(&ops);
    let aliases = place.run("host", "ip -o link show | grep -c 'alias shoal:'");
    assert_eq!(aliases.trim(), "2");
    let seen = place.observe(&Namespaces::new());
    assert_eq!(seen[&NamespaceName::Host].links["veth1"], near);
    assert_eq!(seen[&named("one")].links["eth0"], far);
}

#[test]
fn a_vxlan_device_is_as_the_overlay_needs_it() {
    let place = Place::new();
    place.run(
        "host",
        "ip link add up0 type bridge && ip addr add 192.168.50.11/24 dev up0 && ip link set up0 up",
    );
    place.apply(&[
        NetOp::CreateNamespace(named("one")),
        create(named("one"), "br0", link(LinkKind::Bridge, 1, 1450, &[])),
        create(named("one"), "vxlan0", port(vxlan(4097, ip("192.168.50.11")), 2, 1450, "br0")),
    ]);
    let shown = place.run("one", "ip -d link show vxlan0");
    for word in ["vxlan id 4097", "local 192.168.50.11", "dstport 4789", "nolearning", "proxy", "master br0"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(place.run("one", "ip -d link show br0").contains("mcast_snooping 0"));
    assert!(place.run("host", "ss -lun").contains(":4789"), "the tunnel's socket is in the host's namespace");
    assert!(!place.run("one", "ss -lun").contains(":4789"));
}

#[test]
fn an_identifier_in_use_elsewhere_is_named() {
    let place = Place::new();
    let tunnel = || link(vxlan(4098, ip("127.0.0.1")), 2, 1450, &[]);
    place.apply(&[
        NetOp::CreateNamespace(named("one")),
        NetOp::CreateNamespace(named("two")),
        create(named("one"), "vxlan0", tunnel()),
    ]);
    let error = place.host().apply(&create(named("two"), "vxlan0", tunnel())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create link vxlan0 (VXLAN 4098) in namespace two: a VXLAN device with identifier 4098 and port 4789 \
         already exists in this host, in another namespace"
    );
    // A namespace that is removed gives its identifiers back at once.
    place.apply(&[NetOp::RemoveNamespace(named("one")), create(named("two"), "vxlan0", tunnel())]);
}

#[test]
fn a_different_link_in_the_way_is_replaced() {
    let place = Place::new();
    place.apply(&[NetOp::CreateNamespace(named("one")), NetOp::CreateNamespace(named("two"))]);
    place.run("one", "ip link add br0 type veth peer name x && ip link add vxlan0 type bridge");
    place.run("two", "ip link add eth0 type bridge");
    let ends = (link(pair(named("two"), "eth0"), 4, 1450, &[]), link(pair(named("one"), "x"), 5, 1450, &[]));
    place.apply(&[
        create(named("one"), "br0", link(LinkKind::Bridge, 1, 1450, &[])),
        create(named("one"), "vxlan0", link(vxlan(4099, ip("127.0.0.1")), 2, 1450, &[])),
        NetOp::CreateLink {
            namespace: named("one"),
            name: "x".into(),
            link: ends.0.clone(),
            peer_link: Some(Box::new(ends.1.clone())),
        },
    ]);
    let seen = place.observe(&Namespaces::new());
    assert_eq!(seen[&named("one")].links["br0"].kind, LinkKind::Bridge);
    assert_eq!(seen[&named("one")].links["vxlan0"].kind, vxlan(4099, ip("127.0.0.1")));
    assert_eq!(seen[&named("one")].links["x"], ends.0);
    assert_eq!(seen[&named("two")].links["eth0"], ends.1);
}

#[test]
fn what_fails_is_named_with_the_kernels_reason_and_the_rest_is_done() {
    let place = Place::new();
    let add = |link: &str, address: &str| NetOp::AddAddress {
        namespace: named("one"),
        link: link.into(),
        address: address.parse().unwrap(),
    };
    let bad = crate::layout::route("10.5.0.0/16", Some("10.99.0.1"), "lo", 254);
    let ops = [
        NetOp::CreateNamespace(named("one")),
        add("lo", "10.1.0.1/32"),
        add("eth7", "10.2.0.1/32"),
        NetOp::AddRoute(named("one"), bad),
        add("lo", "10.3.0.1/32"),
        NetOp::SetSysctl { namespace: named("one"), name: "net.ipv4.nothing".into(), value: "1".into() },
        NetOp::CreateNamespace(named("../up")),
        NetOp::RemoveNamespace(NamespaceName::Host),
        create(named("two"), "br0", link(LinkKind::Bridge, 1, 0, &[])),
        create(named("one"), "a_name_that_is_too_long", link(LinkKind::Bridge, 1, 0, &[])),
    ];
    let failed = place.host().apply_all(&ops);
    let words: Vec<(usize, String)> = failed.into_iter().map(|(i, e)| (i, e.to_string())).collect();
    let positions: Vec<usize> = words.iter().map(|(i, _)| *i).collect();
    assert_eq!(positions, [2, 3, 5, 6, 7, 8, 9], "{words:#?}");
    assert_eq!(words[0].1, "add address 10.2.0.1/32 of eth7 in namespace one: there is no link eth7");
    assert_eq!(
        words[1].1,
        "add route to 10.5.0.0/16 over lo in namespace one: \
         ENETUNREACH: Network is unreachable (Nexthop has invalid gateway)"
    );
    let lo = place.observe(&Namespaces::new())[&named("one")].links["lo"].clone();
    assert_eq!(lo, loopback(&["10.1.0.1/32", "10.3.0.1/32"]));
}

#[test]
fn thousands_of_entries_go_in_few_messages() {
    let place = Place::new();
    place.apply(&[
        NetOp::CreateNamespace(named("one")),
        create(named("one"), "vxlan0", link(vxlan(4101, ip("127.0.0.1")), 2, 1450, &[])),
    ]);
    let entry = |i: u16| {
        let [high, low] = i.to_be_bytes();
        let mac = shoal_model::Mac([2, 0x42, 0, 0, high, low]);
        Forwarding { link: "vxlan0".into(), mac, tunnel: ip("10.0.0.1") }
    };
    let ops: Vec<NetOp> = (0..4000).map(|i| NetOp::AddForwarding(named("one"), entry(i))).collect();
    place.apply(&ops);
    let seen = place.observe(&Namespaces::new());
    assert_eq!(seen[&named("one")].forwarding, (0..4000).map(entry).collect());
    // Many failures at once are told one by one.
    let ops: Vec<NetOp> = (0..300_u16)
        .map(|i| {
            let mut entry = entry(i);
            entry.mac = if i % 2 == 0 { mac(0) } else { entry.mac };
            entry.tunnel = if i % 2 == 0 { ip("::1") } else { entry.tunnel };
            NetOp::AddForwarding(named("one"), entry)
        })
        .collect();
    let failed: Vec<usize> = place.host().apply_all(&ops).into_iter().map(|(i, _)| i).collect();
    assert_eq!(failed, (0..300).step_by(2).collect::<Vec<_>>());
}

#[test]
fn the_hosts_own_links_and_routes_are_told() {
    let place = Place::new();
    place.run(
        "host",
        "ip link add up0 type bridge && ip addr add 192.168.50.11/24 dev up0 && ip link set up0 up mtu 1400 && \
         ip route add default via 192.168.50.1 && ip route add 10.20.0.0/16 via 192.168.50.7",
    );
    place.apply(&[create(NamespaceName::Host, "br9", link(LinkKind::Bridge, 3, 1500, &["172.18.0.1/16"]))]);
    let facts = place.host().facts().unwrap();
    let names: Vec<&str> = facts.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["lo", "up0"]);
    let uplink = &facts.interfaces[1];
    assert!(uplink.up && uplink.has_default_route && !uplink.loopback && uplink.mtu == 1400);
    assert!(uplink.addresses.contains(&"192.168.50.11/24".parse().unwrap()));
    assert!(!facts.interfaces[0].has_default_route && facts.interfaces[0].loopback);
    let v4: Vec<String> = facts.routes.iter().map(ToString::to_string).filter(|r| r.contains('.')).collect();
    assert_eq!(v4, ["10.20.0.0/16", "192.168.50.0/24"]);
}

#[test]
fn two_owners_in_one_host_do_not_see_each_other() {
    let place = Place::new();
    let other = HostConfig {
        netns_root: place.config().netns_root.with_file_name("netns2"),
        owner: "shoal:/other".into(),
        nft_table: "shoal2".into(),
        ..place.config()
    };
    let other = Host::open(other).unwrap();
    place.apply(&[create(NamespaceName::Host, "br9", link(LinkKind::Bridge, 3, 1500, &[]))]);
    assert_eq!(other.observe(&Namespaces::new()).unwrap()[&NamespaceName::Host], Namespace::default());
    assert!(other.facts().unwrap().interfaces.iter().any(|i| i.name == "br9"));
    other.dismantle().unwrap();
}

#[test]
fn removing_what_is_not_there_is_fine() {
    let place = Place::new();
    remove_namespace(&place.file("absent")).unwrap();
    create_namespace(&place.file("one")).unwrap();
    remove_namespace(&place.file("one")).unwrap();
    remove_namespace(&place.file("one")).unwrap();
    let gone = |link: &str| NetOp::RemoveLink { namespace: named("one"), name: link.into() };
    place.apply(&[gone("eth0"), NetOp::CreateNamespace(named("one")), gone("eth0")]);
}
