//! Repairs: from nothing, from any foreign change, to nothing.

use crate::example::{self, NOW, assignment, facts, net};
use crate::fake::Fake;
use crate::show;
use shoal_agent::{declare, diff, names};
use shoal_model::netns::{Link, LinkKind, NamespaceName, Namespaces, Neighbour, NetOp, Route, Rule};
use shoal_model::{Mac, Observed};
use std::collections::BTreeSet;

fn declared() -> Namespaces {
    declare(&assignment(), &Observed::default(), &Namespaces::new(), &facts(), NOW)
}

#[test]
fn from_nothing_to_the_articles_swarm() {
    let declared = declared();
    let ops = diff(&declared, &Namespaces::new());
    insta::assert_snapshot!(show::ops(&ops));
    let mut machine = Fake::empty();
    machine.apply_all(&ops);
    machine.assert_holds(&declared);
    assert_eq!(show::ops(&diff(&declared, &machine.namespaces)), "");
}

#[test]
fn nothing_to_repair_is_no_repair() {
    let declared = declared();
    assert_eq!(diff(&declared, &declared), []);
    assert_eq!(diff(&declared, &Fake::holding(&declared).namespaces), []);
}

#[test]
fn what_is_declared_stays_the_same_once_it_is_there() {
    let first = declared();
    let machine = Fake::holding(&first);
    let second = declare(&assignment(), &Observed::default(), &machine.namespaces, &facts(), NOW);
    assert_eq!(show::namespaces(&first), show::namespaces(&second));
}

#[test]
fn back_to_nothing() {
    let declared = declared();
    let mut machine = Fake::holding(&declared);
    let ops = diff(&Namespaces::new(), &machine.namespaces);
    insta::assert_snapshot!(show::ops(&ops));
    machine.apply_all(&ops);
    let host = machine.namespaces.remove(&NamespaceName::Host).unwrap();
    assert!(machine.namespaces.is_empty(), "{:?}", machine.namespaces.keys());
    assert!(host.links.is_empty() && host.routes.is_empty() && host.firewall.is_empty(), "{host:?}");
}

#[test]
fn one_task_goes_with_its_own_links_only() {
    let mut machine = Fake::holding(&declared());
    let mut assignment = assignment();
    assignment.tasks.remove(&example::client_1());
    let declared = declare(&assignment, &Observed::default(), &machine.namespaces, &facts(), NOW);
    let ops = diff(&declared, &machine.namespaces);
    insta::assert_snapshot!(show::ops(&ops));
    machine.apply_all(&ops);
    machine.assert_holds(&declared);
}

#[test]
fn a_replaced_bridge_gets_its_ports_back_in_the_same_go() {
    let declared = declared();
    let overlay = NamespaceName::Named(shoal_model::network::namespace_name(&example::my_demo()));
    let mut machine = Fake::holding(&declared);
    machine.drop_link(&overlay, "br0");
    let ops = diff(&declared, &machine.namespaces);
    machine.apply_all(&ops);
    machine.assert_holds(&declared);
}

#[test]
fn a_tunnel_of_another_number_is_replaced_with_all_that_hangs_on_it() {
    let declared = declared();
    let overlay = NamespaceName::Named(shoal_model::network::namespace_name(&example::my_demo()));
    let mut seen = declared.clone();
    let tunnel = seen.get_mut(&overlay).unwrap().links.get_mut("vxlan0").unwrap();
    tunnel.kind = LinkKind::Vxlan { vni: 5000, port: 4789, local: facts().advertise };
    let mut machine = Fake::holding(&seen);
    let ops = diff(&declared, &machine.namespaces);
    assert!(ops.iter().any(|op| matches!(op, NetOp::AddForwarding(..))), "{}", show::ops(&ops));
    machine.apply_all(&ops);
    machine.assert_holds(&declared);
}

#[test]
fn a_tunnels_number_can_pass_to_a_new_network_in_one_go() {
    let mut machine = Fake::holding(&declared());
    let mut assignment = assignment();
    let mut network = assignment.networks.remove(&example::my_demo()).unwrap();
    network.network.id = shoal_model::NetworkId::from_random(12 << 100);
    for task in assignment.tasks.values_mut() {
        for attachment in task.attachments.iter_mut().filter(|a| a.network == example::my_demo()) {
            attachment.network = network.network.id.clone();
        }
    }
    assignment.networks.insert(network.network.id.clone(), network);
    let declared = declare(&assignment, &Observed::default(), &machine.namespaces, &facts(), NOW);
    machine.apply_all(&diff(&declared, &machine.namespaces));
    machine.assert_holds(&declared);
}

#[test]
fn the_kernels_tabs_are_no_difference() {
    let declared = declared();
    let mut seen = declared.clone();
    for namespace in seen.values_mut() {
        for value in namespace.sysctls.values_mut() {
            *value = value.replace(' ', "\t");
        }
    }
    assert_eq!(diff(&declared, &seen), []);
}

#[test]
fn an_end_whose_other_end_is_unknown_is_replaced() {
    let declared = declared();
    let mut seen = declared.clone();
    let sandbox = names::sandbox(&example::client_1());
    seen.remove(&sandbox);
    for link in seen.values_mut().flat_map(|n| n.links.values_mut()) {
        if let LinkKind::Veth { peer_namespace, peer } = &mut link.kind
            && *peer_namespace == sandbox
        {
            (*peer_namespace, *peer) = (NamespaceName::Named("nsid:7".to_owned()), "ifindex:9".to_owned());
        }
    }
    let mut machine = Fake::holding(&seen);
    machine.apply_all(&diff(&declared, &machine.namespaces));
    machine.assert_holds(&declared);
}

/// One change that somebody else may make.
type Change = Box<dyn Fn(&mut Fake)>;

/// Every single change that this test can think of, with a name.
fn changes(declared: &Namespaces) -> Vec<(String, Change)> {
    let mut all: Vec<(String, Change)> = Vec::new();
    for (name, held) in declared {
        let mut add = |what: String, change: ChangeIn| {
            let namespace = name.clone();
            all.push((format!("{name}: {what}"), Box::new(move |fake: &mut Fake| change(fake, &namespace))));
        };
        if *name != NamespaceName::Host {
            add(
                "namespace removed".into(),
                Box::new(|f, n| f.apply(&NetOp::RemoveNamespace(n.clone())).unwrap()),
            );
        }
        for (link_name, link) in &held.links {
            for (what, change) in link_changes(link_name, link) {
                add(format!("{link_name} {what}"), change);
            }
        }
        for route in held.routes.clone() {
            add(
                format!("no {route:?}"),
                Box::new(move |f, n| f.namespaces.get_mut(n).unwrap().routes.retain(|r| *r != route)),
            );
        }
        for rule in held.rules.clone() {
            add(
                format!("no {rule:?}"),
                Box::new(move |f, n| f.namespaces.get_mut(n).unwrap().rules.retain(|r| *r != rule)),
            );
        }
        for parameter in held.sysctls.keys() {
            let parameter = parameter.clone();
            add(
                format!("{parameter} set"),
                Box::new(move |f, n| {
                    f.namespaces.get_mut(n).unwrap().sysctls.insert(parameter.clone(), "17".to_owned());
                }),
            );
        }
        add(
            "packet filter emptied".into(),
            Box::new(|f, n| f.namespaces.get_mut(n).unwrap().firewall.clear()),
        );
        add(
            "neighbours emptied".into(),
            Box::new(|f, n| f.namespaces.get_mut(n).unwrap().neighbours.clear()),
        );
        add(
            "forwarding emptied".into(),
            Box::new(|f, n| f.namespaces.get_mut(n).unwrap().forwarding.clear()),
        );
        if let Some(link) = held.links.keys().find(|l| *l != "lo").cloned() {
            for (what, change) in additions(link) {
                add(what.to_owned(), change);
            }
        }
    }
    all
}

type ChangeIn = Box<dyn Fn(&mut Fake, &NamespaceName)>;

fn link_changes(name: &str, link: &Link) -> Vec<(String, ChangeIn)> {
    let mut all: Vec<(String, ChangeIn)> = Vec::new();
    let edit = |name: &str, edit: Box<dyn Fn(&mut Link)>| -> ChangeIn {
        let name = name.to_owned();
        Box::new(move |f, n| edit(f.namespaces.get_mut(n).unwrap().links.get_mut(&name).unwrap()))
    };
    all.push(("down".into(), edit(name, Box::new(|l| l.up = false))));
    for address in link.addresses.clone() {
        all.push((
            format!("without {address}"),
            edit(name, Box::new(move |l| l.addresses.retain(|a| *a != address))),
        ));
        let other = ipnet::IpNet::new(address.network(), address.prefix_len()).unwrap();
        all.push((format!("with {other}, too"), edit(name, Box::new(move |l| l.addresses.extend([other])))));
    }
    if link.kind != LinkKind::Loopback {
        let owned = name.to_owned();
        all.push(("removed".into(), Box::new(move |f, n| f.drop_link(n, &owned))));
        all.push(("of another size".into(), edit(name, Box::new(|l| l.mtu = 777))));
        all.push(("of another MAC".into(), edit(name, Box::new(|l| l.mac = Some(Mac([2; 6]))))));
    }
    if link.master.is_some() {
        all.push(("without its bridge".into(), edit(name, Box::new(|l| l.master = None))));
    }
    all
}

/// Things that nobody declared.
fn additions(link: String) -> Vec<(&'static str, ChangeIn)> {
    let route_link = link.clone();
    let neighbour_link = link;
    vec![
        (
            "a bridge added",
            Box::new(|f, n| {
                let foreign = Link {
                    kind: LinkKind::Bridge,
                    mac: None,
                    mtu: 1500,
                    master: None,
                    addresses: BTreeSet::new(),
                    up: false,
                };
                f.namespaces.get_mut(n).unwrap().links.insert("foreign".to_owned(), foreign);
            }),
        ),
        (
            "a route added",
            Box::new(move |f, n| {
                let route = Route {
                    destination: net("10.99.0.0/16"),
                    via: None,
                    link: route_link.clone(),
                    source: None,
                    table: 254,
                };
                f.namespaces.get_mut(n).unwrap().routes.insert(route);
            }),
        ),
        (
            "a rule added",
            Box::new(|f, n| {
                let rule = Rule { from: net("10.99.0.0/16"), mark: None, table: 7, priority: 7 };
                f.namespaces.get_mut(n).unwrap().rules.insert(rule);
            }),
        ),
        (
            "a neighbour added",
            Box::new(move |f, n| {
                let link = neighbour_link.clone();
                let neighbour = Neighbour { link, address: example::ip("10.99.0.1"), mac: Mac([2; 6]) };
                f.namespaces.get_mut(n).unwrap().neighbours.insert(neighbour);
            }),
        ),
    ]
}

#[test]
fn any_single_foreign_change_is_repaired_in_one_go() {
    let declared = declared();
    let changes = changes(&declared);
    assert!(changes.len() > 200, "{}", changes.len());
    for (what, change) in changes {
        let mut machine = Fake::holding(&declared);
        change(&mut machine);
        let ops = diff(&declared, &machine.namespaces);
        for op in &ops {
            machine.apply(op).unwrap_or_else(|e| panic!("after {what}: {e}: {op:?} of\n{}", show::ops(&ops)));
        }
        machine.assert_holds(&declared);
        assert_eq!(show::ops(&diff(&declared, &machine.namespaces)), "", "after {what}");
    }
}
