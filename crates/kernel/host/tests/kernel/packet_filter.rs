//! The own packet-filter table, compared with what `nft` itself says is in the kernel.

use crate::layout::{ip, link, named, pair, port};
use crate::place::Place;
use serde_json::Value;
use shoal_model::netns::{FirewallRule, LinkKind, NamespaceName, Namespaces, NetOp};
use shoal_model::spec::Protocol;

fn rules() -> Vec<FirewallRule> {
    vec![
        FirewallRule::Masquerade {
            source: "172.18.0.0/16".parse().unwrap(),
            bridge: "docker_gwbridge".into(),
        },
        FirewallRule::Masquerade {
            source: "fd00:18::/60".parse().unwrap(),
            bridge: "docker_gwbridge".into(),
        },
        FirewallRule::Isolate { bridge: "docker_gwbridge".into() },
        FirewallRule::HostPort {
            protocol: Protocol::Udp,
            published: 53,
            address: ip("172.18.0.3"),
            target: 5353,
            client: None,
            at: None,
        },
        FirewallRule::HostPort {
            protocol: Protocol::Tcp,
            published: 80,
            address: ip("fd00:18::3"),
            target: 8080,
            client: None,
            at: None,
        },
    ]
}

fn set(rules: Vec<FirewallRule>) -> NetOp {
    NetOp::SetFirewall(NamespaceName::Host, rules)
}

fn observed(place: &Place) -> Vec<FirewallRule> {
    place.observe(&Namespaces::new())[&NamespaceName::Host].firewall.clone()
}

/// The rules of a chain as `nft` writes them, without comments.
fn shown(place: &Place, chain: &str) -> Vec<String> {
    let text = place.run("host", &format!("nft list chain inet shoal {chain}"));
    let rule = |line: &str| line.split(" comment ").next().unwrap_or_default().trim().to_owned();
    let inner = text.lines().filter(|line| line.starts_with("\t\t") && !line.contains(" hook "));
    inner.map(rule).collect()
}

#[test]
fn nft_shows_what_was_declared() {
    let place = Place::new();
    place.apply(&[set(rules())]);
    assert_eq!(observed(&place), rules());
    assert_eq!(
        shown(&place, "postrouting"),
        [
            r#"ip saddr 172.18.0.0/16 oifname != "docker_gwbridge" masquerade"#,
            r#"ip saddr 172.18.0.0/16 oifname "docker_gwbridge" ct status dnat masquerade"#,
            r#"ip6 saddr fd00:18::/60 oifname != "docker_gwbridge" masquerade"#,
            r#"ip6 saddr fd00:18::/60 oifname "docker_gwbridge" ct status dnat masquerade"#,
            "ip saddr 127.0.0.0/8 ip daddr 172.18.0.3 masquerade",
        ]
    );
    let translations = [
        "meta nfproto ipv4 fib daddr type local udp dport 53 dnat ip to 172.18.0.3:5353",
        "meta nfproto ipv6 fib daddr type local tcp dport 80 dnat ip6 to [fd00:18::3]:8080",
    ];
    assert_eq!(shown(&place, "prerouting"), translations);
    assert_eq!(shown(&place, "output"), translations);
    let forward = shown(&place, "forward");
    assert_eq!(forward.len(), 1);
    assert!(
        forward[0].starts_with(r#"iifname "docker_gwbridge" oifname "docker_gwbridge" ct status"#),
        "{forward:?}"
    );
    assert!(forward[0].ends_with("drop"));
    assert_eq!(shown(&place, "guard"), [r#"iifname != "lo" ip daddr 127.0.0.0/8 drop"#]);
}

#[test]
fn nfts_json_agrees_on_hooks_and_counts() {
    let place = Place::new();
    place.apply(&[set(rules())]);
    let json: Value = serde_json::from_str(&place.run("host", "nft -j list ruleset")).unwrap();
    let objects = json["nftables"].as_array().unwrap();
    let of = |kind: &str| objects.iter().filter_map(|o| o.get(kind)).collect::<Vec<_>>();
    assert_eq!(of("table").len(), 1);
    assert_eq!(of("rule").len(), 11);
    let mut chains: Vec<(String, String, String, i64)> = of("chain")
        .iter()
        .map(|c| {
            let word = |key: &str| c[key].as_str().unwrap().to_owned();
            (word("name"), word("type"), word("hook"), c["prio"].as_i64().unwrap())
        })
        .collect();
    chains.sort();
    let expected = [
        ("forward", "filter", "forward", 0),
        ("guard", "filter", "prerouting", -300),
        ("output", "nat", "output", -100),
        ("postrouting", "nat", "postrouting", 100),
        ("prerouting", "nat", "prerouting", -100),
    ];
    assert_eq!(chains, expected.map(|(n, t, h, p)| (n.to_owned(), t.to_owned(), h.to_owned(), p)));
}

#[test]
fn replacing_is_whole_and_leaves_other_tables_alone() {
    let place = Place::new();
    place.run("host", "nft add table inet other && nft add chain inet other mine");
    place.apply(&[set(rules())]);
    let fewer = vec![rules().remove(2)];
    place.apply(&[set(fewer.clone())]);
    assert_eq!(observed(&place), fewer);
    assert!(place.attempt("host", "nft list chain inet shoal postrouting").1.contains("No such file"));
    place.apply(&[set(Vec::new()), set(Vec::new())]);
    assert_eq!(observed(&place), []);
    assert_eq!(place.run("host", "nft list tables").trim(), "table inet other");
}

#[test]
fn a_rule_counts_only_if_all_of_it_is_there() {
    let place = Place::new();
    for damage in [
        "nft flush chain inet shoal output",
        "nft flush chain inet shoal postrouting",
        "nft add rule inet shoal forward accept",
        "nft insert rule inet shoal forward accept comment mine",
        "nft delete table inet shoal",
    ] {
        place.apply(&[set(rules())]);
        assert_eq!(observed(&place), rules());
        place.run("host", damage);
        assert_ne!(observed(&place), rules(), "{damage}");
    }
}

#[test]
fn a_table_of_thousands_of_rules_is_one_transaction() {
    let place = Place::new();
    let many: Vec<FirewallRule> = (1..=2000)
        .map(|port| FirewallRule::HostPort {
            protocol: Protocol::Tcp,
            published: port,
            address: ip("172.18.0.3"),
            target: port,
            client: None,
            at: None,
        })
        .collect();
    place.apply(&[set(many.clone())]);
    assert_eq!(observed(&place), many);
}

#[test]
fn impossible_rules_change_nothing() {
    let place = Place::new();
    place.apply(&[set(rules())]);
    let bad = set(vec![FirewallRule::Isolate { bridge: "a name with spaces".into() }]);
    assert!(place.host().apply(&bad).is_err());
    assert_eq!(observed(&place), rules());
}

/// A bridge of the host with two sandboxes on it, `one` at 172.18.0.2 and `two` at 172.18.0.3.
fn two_on_a_bridge() -> Place {
    let place = Place::new();
    let mut ops = vec![NetOp::CreateLink {
        namespace: NamespaceName::Host,
        name: "docker_gwbridge".into(),
        link: link(LinkKind::Bridge, 1, 1500, &["172.18.0.1/16"]),
        peer_link: None,
    }];
    for (name, last) in [("one", 2), ("two", 3)] {
        let host_side = format!("veth{last}");
        let sandbox_side =
            link(pair(NamespaceName::Host, &host_side), last, 1500, &[&format!("172.18.0.{last}/16")]);
        ops.extend([
            NetOp::CreateNamespace(named(name)),
            NetOp::CreateLink {
                namespace: NamespaceName::Host,
                name: host_side,
                link: port(pair(named(name), "eth0"), last + 10, 1500, "docker_gwbridge"),
                peer_link: Some(Box::new(sandbox_side)),
            },
            NetOp::AddRoute(named(name), crate::layout::route("0.0.0.0/0", Some("172.18.0.1"), "eth0", 254)),
        ]);
    }
    ops.push(NetOp::SetSysctl {
        namespace: NamespaceName::Host,
        name: "net.ipv4.ip_forward".into(),
        value: "1".into(),
    });
    place.apply(&ops);
    place
}

/// Whether the kernel sends bridged frames through the packet filter, in the place's host.
fn filter_bridged(place: &Place, on: bool) {
    let on = u8::from(on);
    for family in ["ip", "ip6"] {
        place.run("host", &format!("echo {on} > /proc/sys/net/bridge/bridge-nf-call-{family}tables"));
    }
}

#[test]
fn isolated_ports_reach_the_bridge_but_not_each_other() {
    isolation(false);
}

#[test]
fn isolated_ports_reach_the_bridge_but_not_each_other_with_br_netfilter() {
    isolation(true);
}

fn isolation(filter: bool) {
    let place = two_on_a_bridge();
    filter_bridged(&place, filter);
    let ping = |address: &str| place.attempt("one", &format!("ping -c1 -W1 {address}")).0;
    assert!(ping("172.18.0.3"));
    let isolate = vec![FirewallRule::Isolate { bridge: "docker_gwbridge".into() }];
    place.apply(&[set(isolate.clone())]);
    assert_eq!(observed(&place), isolate);
    assert!(!ping("172.18.0.3"), "frames from port to port are dropped");
    place.run("one", "ip route add 172.18.0.3 via 172.18.0.1");
    assert!(!ping("172.18.0.3"), "and what is routed back to the bridge too");
    assert!(ping("172.18.0.1"));
    // A port that joins later is isolated as well, and one that is not is noticed.
    let ends = (
        port(pair(named("one"), "eth9"), 20, 1500, "docker_gwbridge"),
        link(pair(NamespaceName::Host, "veth9"), 21, 1500, &[]),
    );
    place.apply(&[NetOp::CreateLink {
        namespace: NamespaceName::Host,
        name: "veth9".into(),
        link: ends.0,
        peer_link: Some(Box::new(ends.1)),
    }]);
    assert_eq!(place.run("host", "bridge -d link show dev veth9").contains("isolated on"), !filter);
    assert_eq!(observed(&place), isolate);
    // A port that has left the bridge and is put back is isolated again.
    place.run("host", "ip link set veth9 nomaster");
    let back = port(pair(named("one"), "eth9"), 20, 1500, "docker_gwbridge");
    place.apply(&[NetOp::SetLink { namespace: NamespaceName::Host, name: "veth9".into(), link: back }]);
    assert_eq!(observed(&place), isolate);
    place.run("host", &format!("bridge link set dev veth9 isolated {}", if filter { "on" } else { "off" }));
    assert_eq!(observed(&place), []);
    filter_bridged(&place, !filter);
    place.apply(&[set(isolate.clone())]);
    assert_eq!(observed(&place), isolate);
    place.run("one", "ip route del 172.18.0.3");
    assert!(!ping("172.18.0.3"));
    place.apply(&[set(Vec::new())]);
    assert!(ping("172.18.0.3"));
}

/// Answers one line on a TCP port of a sandbox and asks for it from elsewhere; the answer is the asker's address.
fn ask(place: &Place, from: &str, to: &str) -> String {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;
    let listener =
        shoal_host::in_namespace(Some(&place.file("two")), || TcpListener::bind("172.18.0.3:80").unwrap())
            .unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = std::thread::spawn(move || {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while std::time::Instant::now() < deadline {
            if let Ok((mut stream, peer)) = listener.accept() {
                let _ = write!(stream, "{}", peer.ip());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let answer = shoal_host::in_namespace(Some(&place.file(from)), || {
        let mut text = String::new();
        let stream = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(3));
        match stream.and_then(|mut s| s.read_to_string(&mut text)) {
            Ok(_) => text,
            Err(error) => error.to_string(),
        }
    })
    .unwrap();
    server.join().unwrap();
    answer
}

#[test]
fn a_host_mode_port_is_reached_from_outside_from_the_node_and_from_its_neighbours() {
    host_mode_port(false);
}

#[test]
fn a_host_mode_port_is_reached_from_everywhere_with_br_netfilter() {
    host_mode_port(true);
}

fn host_mode_port(filter: bool) {
    let place = two_on_a_bridge();
    filter_bridged(&place, filter);
    place.run("host", "ip link add up0 type veth peer name far0 && ip link set up0 up");
    let far = place.foreign("far");
    let far_path = far.display();
    let move_far = format!("nsenter --net={far_path} true && ip link set far0 netns {far_path}");
    place.run("host", &format!("{move_far} && ip addr add 192.168.50.11/24 dev up0"));
    crate::place::run_in(&far, "ip addr add 192.168.50.100/24 dev far0 && ip link set far0 up");
    place.apply(&[
        set(vec![
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
        ]),
        NetOp::SetSysctl {
            namespace: NamespaceName::Host,
            name: "net.ipv4.conf.docker_gwbridge.route_localnet".into(),
            value: "1".into(),
        },
    ]);
    assert_eq!(ask(&place, "../far", "192.168.50.11:8080"), "192.168.50.100", "the client's address is kept");
    assert_eq!(ask(&place, "host", "192.168.50.11:8080"), "192.168.50.11");
    assert_eq!(ask(&place, "host", "127.0.0.1:8080"), "172.18.0.1");
    assert_eq!(ask(&place, "one", "192.168.50.11:8080"), "172.18.0.1");
    if !filter {
        // With `br_netfilter` the frame would have to leave by the port that it came in by.
        assert_eq!(ask(&place, "two", "192.168.50.11:8080"), "172.18.0.1", "and by the container itself");
    }
    // Leaving containers take the node's address.
    place.run("one", "ping -c1 -W2 192.168.50.100");
}

#[test]
fn a_host_mode_port_lets_in_whom_it_is_open_to_and_drops_the_rest() {
    let place = two_on_a_bridge();
    filter_bridged(&place, false);
    place.run("host", "ip link add up0 type veth peer name far0 && ip link set up0 up");
    let far = place.foreign("far");
    let far_path = far.display();
    place.run(
        "host",
        &format!(
            "nsenter --net={far_path} true && ip link set far0 netns {far_path}\n\
                  ip addr add 192.168.50.11/24 dev up0 && ip addr add 192.168.50.12/24 dev up0"
        ),
    );
    crate::place::run_in(&far, "ip addr add 192.168.50.100/24 dev far0 && ip link set far0 up");
    let restricted = |client: &str| {
        let (protocol, published, at) = (Protocol::Tcp, 8080, Some(ip("192.168.50.11")));
        let open = FirewallRule::HostPort {
            protocol,
            published,
            address: ip("172.18.0.3"),
            target: 80,
            client: Some(client.parse().unwrap()),
            at,
        };
        vec![open, FirewallRule::ClosedPort { protocol, published, at }]
    };
    let (open, closed) = (restricted("192.168.50.96/28"), restricted("192.168.50.0/28"));
    place.apply(&[set(open.clone())]);
    assert_eq!(observed(&place), open);
    assert_eq!(ask(&place, "../far", "192.168.50.11:8080"), "192.168.50.100");
    assert!(ask(&place, "../far", "192.168.50.12:8080").contains("refused"), "it is published on .11 only");
    place.apply(&[set(closed.clone())]);
    assert_eq!(observed(&place), closed);
    assert!(ask(&place, "../far", "192.168.50.11:8080").contains("timed out"), "dropped, not refused");
}
