//! Repairs between namespaces that were made up at random.

use crate::example::{ip, net};
use crate::fake::Fake;
use crate::show;
use proptest::prelude::*;
use shoal_agent::diff;
use shoal_model::Mac;
use shoal_model::netns::{
    FirewallRule, Forwarding, Link, LinkKind, NamespaceName, Namespaces, Neighbour, Route, Rule,
};
use std::collections::BTreeSet;

/// Namespaces: the host's and so many others.
const NAMED: usize = 3;

fn namespace(n: usize) -> NamespaceName {
    if n == 0 { NamespaceName::Host } else { NamespaceName::Named(format!("n{n}")) }
}

fn link(kind: LinkKind, (mac, mtu, up): Properties) -> Link {
    Link {
        kind,
        mac: mac.map(|n| Mac([2, 0, 0, 0, 0, n])),
        mtu: if mtu { 1400 } else { 1500 },
        master: None,
        addresses: BTreeSet::new(),
        up,
    }
}

/// A MAC, whether the link is small, whether it is up.
type Properties = (Option<u8>, bool, bool);
/// One end of a pair: its namespace and the number in its name.
type End = (usize, u8);
/// A tunnel's number and properties.
type Tunnel = (u8, Properties);
/// Both ends, their properties, and whether each is a bridge's port.
type Pair = (End, End, Properties, (bool, bool));

/// The dice of one made-up machine.
#[derive(Debug, Clone)]
struct Dice {
    present: Vec<bool>,
    bridges: Vec<Option<Properties>>,
    tunnels: Vec<Option<Tunnel>>,
    pairs: Vec<Pair>,
    addresses: Vec<(usize, u8, u8)>,
    routes: Vec<(usize, u8, u8, bool)>,
    rules: Vec<(usize, u8)>,
    neighbours: Vec<(usize, u8, u8)>,
    forwarding: Vec<(usize, u8, u8)>,
    sysctls: Vec<(usize, bool, bool)>,
    firewall: Vec<(usize, u8)>,
}

fn properties() -> impl Strategy<Value = Properties> {
    (prop::option::of(1..4_u8), any::<bool>(), any::<bool>())
}

fn dice() -> impl Strategy<Value = Dice> {
    let spaces = NAMED + 1;
    let pair = ((0..spaces, 0..3_u8), (0..spaces, 0..3_u8), properties(), any::<(bool, bool)>());
    let links = (
        prop::collection::vec(any::<bool>(), spaces),
        prop::collection::vec(prop::option::of(properties()), spaces),
        prop::collection::vec(prop::option::of((0..3_u8, properties())), spaces),
        prop::collection::vec(pair, 0..6),
        prop::collection::vec((0..spaces, 0..5_u8, 0..6_u8), 0..10),
    );
    let entries = (
        prop::collection::vec((0..spaces, 0..5_u8, 0..3_u8, any::<bool>()), 0..6),
        prop::collection::vec((0..spaces, 0..3_u8), 0..4),
        prop::collection::vec((0..spaces, 0..3_u8, 1..3_u8), 0..6),
        prop::collection::vec((0..spaces, 0..3_u8, 1..3_u8), 0..6),
        prop::collection::vec((0..spaces, any::<bool>(), any::<bool>()), 0..4),
        prop::collection::vec((0..spaces, 0..3_u8), 0..4),
    );
    (links, entries).prop_map(
        |(
            (present, bridges, tunnels, pairs, addresses),
            (routes, rules, neighbours, forwarding, sysctls, firewall),
        )| {
            Dice {
                present,
                bridges,
                tunnels,
                pairs,
                addresses,
                routes,
                rules,
                neighbours,
                forwarding,
                sysctls,
                firewall,
            }
        },
    )
}

impl Dice {
    /// The machine that the dice stand for; what cannot be is left out.
    fn machine(&self) -> Namespaces {
        let mut made = Namespaces::new();
        let present = self.present.iter().enumerate().filter(|(n, there)| *n == 0 || **there);
        for (n, _) in present {
            made.entry(namespace(n)).or_default();
            if n != 0 {
                let lo =
                    Link { mtu: 0, mac: None, up: true, ..link(LinkKind::Loopback, (None, false, true)) };
                made.entry(namespace(n)).or_default().links.insert("lo".to_owned(), lo);
            }
        }
        self.add_links(&mut made);
        self.add_entries(&mut made);
        made
    }

    fn add_links(&self, made: &mut Namespaces) {
        let mut numbers = BTreeSet::new();
        for n in 0..=NAMED {
            let Some(held) = made.get_mut(&namespace(n)) else { continue };
            if let Some(properties) = self.bridges[n] {
                held.links.insert("br0".to_owned(), link(LinkKind::Bridge, properties));
            }
            if let Some((vni, properties)) = self.tunnels[n]
                && numbers.insert(vni)
            {
                let kind = LinkKind::Vxlan { vni: vni.into(), port: 4789, local: ip("192.168.0.1") };
                let mut tunnel = link(kind, properties);
                tunnel.master = held.links.contains_key("br0").then(|| "br0".to_owned());
                held.links.insert("vxlan0".to_owned(), tunnel);
            }
        }
        for ((one, one_name), (other, other_name), properties, ports) in &self.pairs {
            let (one, other) = (namespace(*one), namespace(*other));
            let (one_name, other_name) = (format!("eth{one_name}"), format!("eth{other_name}"));
            let free = |made: &Namespaces, n: &NamespaceName, name: &str| {
                made.get(n).is_some_and(|held| !held.links.contains_key(name))
            };
            if one == other || !free(made, &one, &one_name) || !free(made, &other, &other_name) {
                continue;
            }
            let mut add = |n: &NamespaceName, name: &str, peer: (&NamespaceName, &str), port: bool| {
                let held = made.entry(n.clone()).or_default();
                let kind = LinkKind::Veth { peer_namespace: peer.0.clone(), peer: peer.1.to_owned() };
                let mut end = link(kind, *properties);
                end.master = (port && held.links.contains_key("br0")).then(|| "br0".to_owned());
                held.links.insert(name.to_owned(), end);
            };
            add(&one, &one_name, (&other, &other_name), ports.0);
            add(&other, &other_name, (&one, &one_name), ports.1);
        }
        for (n, which, address) in &self.addresses {
            if let Some(link) = nth_link(made, *n, *which) {
                link.addresses.insert(net(&format!("10.0.{}.{}/24", address / 3, 1 + address % 3)));
            }
        }
    }

    fn add_entries(&self, made: &mut Namespaces) {
        for (n, which, destination, direct) in &self.routes {
            let Some(name) = nth_link_name(made, *n, *which) else { continue };
            let held = made.entry(namespace(*n)).or_default();
            let link = &held.links[&name];
            let via = link.addresses.first().map(|a| a.hosts().last().unwrap()).filter(|_| !direct);
            let destination = net(&format!("10.{}.0.0/16", 100 + destination));
            let known = held.routes.iter().any(|r| r.destination == destination);
            if link.up && !known && (via.is_some() || *direct) {
                held.routes.insert(Route { destination, via, link: name, source: None, table: 254 });
            }
        }
        for (n, number) in &self.rules {
            if let Some(held) = made.get_mut(&namespace(*n)) {
                held.rules.insert(Rule {
                    from: net("10.1.1.1/32"),
                    mark: None,
                    table: u32::from(*number),
                    priority: 100,
                });
            }
        }
        for (n, address, mac) in &self.neighbours {
            let Some(held) = made.get_mut(&namespace(*n)).filter(|h| h.links.contains_key("vxlan0")) else {
                continue;
            };
            let address = ip(&format!("10.9.0.{address}"));
            if held.neighbours.iter().all(|n| n.address != address) {
                let mac = Mac([2, 0, 0, 0, 1, *mac]);
                held.neighbours.insert(Neighbour { link: "vxlan0".to_owned(), address, mac });
            }
        }
        for (n, mac, tunnel) in &self.forwarding {
            let Some(held) = made.get_mut(&namespace(*n)).filter(|h| h.links.contains_key("vxlan0")) else {
                continue;
            };
            let (mac, tunnel) = (Mac([2, 0, 0, 0, 1, *mac]), ip(&format!("192.168.0.{tunnel}")));
            if held.forwarding.iter().all(|f| f.mac != mac) {
                held.forwarding.insert(Forwarding { link: "vxlan0".to_owned(), mac, tunnel });
            }
        }
        self.add_parameters_and_rules(made);
    }

    fn add_parameters_and_rules(&self, made: &mut Namespaces) {
        for (n, of_link, on) in &self.sysctls {
            let Some(held) = made.get_mut(&namespace(*n)) else { continue };
            let name = if *of_link { "net.ipv4.conf.eth0.rp_filter" } else { "net.ipv4.ip_forward" };
            if !of_link || held.links.contains_key("eth0") {
                held.sysctls.insert(name.to_owned(), u8::from(*on).to_string());
            }
        }
        for (n, bridge) in &self.firewall {
            if let Some(held) = made.get_mut(&namespace(*n)) {
                held.firewall.push(FirewallRule::Isolate { bridge: format!("br{bridge}") });
            }
        }
    }
}

fn nth_link_name(made: &Namespaces, n: usize, which: u8) -> Option<String> {
    let held = made.get(&namespace(n))?;
    held.links.keys().nth(usize::from(which)).filter(|name| *name != "lo").cloned()
}

fn nth_link(made: &mut Namespaces, n: usize, which: u8) -> Option<&mut Link> {
    let name = nth_link_name(made, n, which)?;
    made.get_mut(&namespace(n))?.links.get_mut(&name)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_state_leads_to_any_other_in_one_go(declared in dice(), observed in dice()) {
        let declared = declared.machine();
        let mut machine = Fake::holding(&observed.machine());
        machine.apply_all(&diff(&declared, &machine.namespaces));
        machine.assert_holds(&declared);
        prop_assert_eq!(show::ops(&diff(&declared, &machine.namespaces)), "");
    }

    #[test]
    fn any_state_leads_to_nothing(observed in dice()) {
        let mut machine = Fake::holding(&observed.machine());
        machine.apply_all(&diff(&Namespaces::new(), &machine.namespaces));
        machine.assert_holds(&Namespaces::new());
    }
}
