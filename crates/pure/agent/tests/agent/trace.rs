//! Connections followed through what nodes hold: the whole way as text, and each reason for which one ends.

use crate::example::{
    NOW, all_running, assignment, client_1, facts, here, ingress, ip, my_demo, there, whoami_1, whoami_2,
};
use crate::fake::Fake;
use shoal_agent::trace::{Known, asked, trace};
use shoal_agent::{declare, names, table};
use shoal_model::netns::{Forwarding, Link, LinkKind, Namespace, NamespaceName, Namespaces};
use shoal_model::spec::Protocol;
use shoal_model::trace::{HeldTask, Holdings, Hop, Listener, Path, Source, Target, TaskPlace};
use shoal_model::{Deviation, DeviationKind, Found, Mac, NodeId, TaskId};
use std::collections::{BTreeMap, BTreeSet};

type Nodes = BTreeMap<NodeId, Result<Holdings, String>>;

fn held_task(task: &TaskId) -> HeldTask {
    let listener = Listener { protocol: Protocol::Tcp, address: ip("0.0.0.0"), port: 80 };
    HeldTask { sandbox: names::sandbox(task), running: true, listeners: BTreeSet::from([listener]) }
}

/// The node of the example.
fn own() -> Holdings {
    let (assignment, observed) = (assignment(), all_running(&assignment()));
    let declared = declare(&assignment, &observed, &Namespaces::new(), &facts(), NOW);
    let table = table(&assignment, &observed, &declared, &facts());
    Holdings {
        hostname: "swarm-manager".to_owned(),
        namespaces: Fake::holding(&declared).namespaces,
        services: table.services.into_iter().collect(),
        mesh: table.mesh,
        deviations: Vec::new(),
        connections: Vec::new(),
        tasks: [whoami_1(), client_1()].iter().map(|task| (task.clone(), held_task(task))).collect(),
    }
}

/// As much of the other node as its task's way needs.
fn other() -> Holdings {
    let link = |kind, master: Option<&str>, address: Option<&str>| Link {
        kind,
        mac: None,
        mtu: 1450,
        master: master.map(str::to_owned),
        addresses: address.map(|a| a.parse().unwrap()).into_iter().collect(),
        up: true,
    };
    let pair = |namespace: NamespaceName, peer: &str| LinkKind::Veth {
        peer_namespace: namespace,
        peer: peer.to_owned(),
    };
    let mut namespaces = Namespaces::new();
    let mut sandbox = Namespace::default();
    for (network, inner, port, address) in
        [(ingress(), "eth0", "veth1", "10.0.0.7/24"), (my_demo(), "eth2", "veth2", "10.0.1.7/24")]
    {
        let overlay = NamespaceName::Named(shoal_model::network::namespace_name(&network));
        sandbox.links.insert(inner.to_owned(), link(pair(overlay.clone(), port), None, Some(address)));
        let vxlan = LinkKind::Vxlan { vni: 4096, port: 4789, local: ip("192.168.50.12") };
        let mut held = Namespace::default();
        held.links.insert("vxlan0".to_owned(), link(vxlan, Some("br0"), None));
        let port_kind = pair(names::sandbox(&whoami_2()), inner);
        held.links.insert(port.to_owned(), link(port_kind, Some("br0"), None));
        for holder in [here().to_string(), client_1().to_string()] {
            let mac = Mac::of_endpoint(&holder, network.as_str());
            held.forwarding.insert(Forwarding {
                link: "vxlan0".to_owned(),
                mac,
                tunnel: ip("192.168.50.11"),
            });
        }
        namespaces.insert(overlay, held);
    }
    namespaces.insert(names::sandbox(&whoami_2()), sandbox);
    Holdings {
        hostname: "swarm-worker1".to_owned(),
        namespaces,
        services: Vec::new(),
        mesh: None,
        deviations: Vec::new(),
        connections: Vec::new(),
        tasks: BTreeMap::from([(whoami_2(), held_task(&whoami_2()))]),
    }
}

fn nodes() -> Nodes {
    BTreeMap::from([(here(), Ok(own())), (there(), Ok(other()))])
}

fn tasks() -> BTreeMap<TaskId, TaskPlace> {
    let place = |name: &str, node: NodeId, last: u8| TaskPlace {
        name: name.to_owned(),
        node,
        addresses: BTreeMap::from([
            (ingress(), ip(&format!("10.0.0.{last}"))),
            (my_demo(), ip(&format!("10.0.1.{last}"))),
        ]),
        state: "running".to_owned(),
    };
    BTreeMap::from([
        (whoami_1(), place("whoami.1", here(), 6)),
        (whoami_2(), place("whoami.2", there(), 7)),
        (client_1(), place("client.1", here(), 3)),
    ])
}

fn follow(path: &Path, nodes: &Nodes) -> shoal_model::trace::Trace {
    let hostnames = [(here(), "swarm-manager".to_owned()), (there(), "swarm-worker1".to_owned())].into();
    trace(path, Known { nodes, hostnames: &hostnames, tasks: &tasks() })
}

fn path(source: Source, target: Target, port: u16) -> Path {
    Path { source, entry: here(), target, protocol: Protocol::Tcp, port }
}

fn from_outside() -> Path {
    path(Source::Client(ip("192.168.50.100")), Target::Published, 8000)
}

fn to_vip() -> Path {
    path(Source::Task(client_1()), Target::Virtual { network: my_demo(), vip: ip("10.0.1.5") }, 80)
}

fn shown(path: &Path) -> String {
    let trace = follow(path, &nodes());
    assert!(trace.arrives(), "{trace:?}");
    let line = |hop: &Hop| format!("{}: {}", hop.host, hop.what);
    let mut lines: Vec<String> = trace.hops.iter().map(line).collect();
    for branch in &trace.branches {
        lines.push(format!("-> {}", branch.task));
        lines.extend(branch.hops.iter().map(line));
    }
    lines.join("\n")
}

#[test]
fn a_client_of_a_published_port() {
    insta::assert_snapshot!(shown(&from_outside()));
}

#[test]
fn a_task_and_a_virtual_address() {
    insta::assert_snapshot!(shown(&to_vip()));
}

#[test]
fn the_nodes_of_every_real_server_are_asked() {
    let own = own();
    assert_eq!(asked(&from_outside(), Some(&own), &tasks()), [here(), there()]);
    let direct = path(Source::Task(client_1()), Target::Task { network: my_demo(), task: whoami_2() }, 80);
    assert_eq!(asked(&direct, Some(&own), &tasks()), [there()]);
    assert!(follow(&direct, &nodes()).arrives());
}

/// Where the connection ends after a change to the nodes.
fn dropped(path: &Path, change: impl FnOnce(&mut Holdings, &mut Holdings)) -> String {
    let (mut own, mut other) = (own(), other());
    change(&mut own, &mut other);
    let trace = follow(path, &BTreeMap::from([(here(), Ok(own)), (there(), Ok(other))]));
    assert!(!trace.arrives());
    let all = trace.hops.iter().chain(trace.branches.iter().flat_map(|branch| &branch.hops));
    let drops: Vec<String> =
        all.filter(|hop| hop.dropped).map(|hop| format!("{}: {}", hop.host, hop.what)).collect();
    drops.join("; ")
}

fn forget_forwarding(held: &mut Holdings, network: &shoal_model::NetworkId) {
    let name = NamespaceName::Named(shoal_model::network::namespace_name(network));
    held.namespaces.get_mut(&name).unwrap().forwarding.clear();
}

fn program(what: &str) -> Deviation {
    Deviation {
        kind: DeviationKind::Program,
        namespace: String::new(),
        what: what.to_owned(),
        found: Found::Missing,
        detail: String::new(),
    }
}

#[test]
fn each_reason_to_end_is_named_where_it_is() {
    let client = from_outside();
    assert_eq!(
        dropped(&path(Source::Client(ip("1.2.3.4")), Target::Published, 9), |_, _| {}),
        "swarm-manager: no service publishes port 9/tcp"
    );
    let allow = |own: &mut Holdings, _: &mut Holdings| {
        for (_, service) in &mut own.services {
            service.access.allow.insert("10.0.0.0/8".parse().unwrap());
        }
    };
    assert_eq!(
        dropped(&client, allow),
        "swarm-manager: 192.168.50.100 is not in the allow-list of port 8000/tcp"
    );
    let empty = |own: &mut Holdings, _: &mut Holdings| own.services.iter_mut().for_each(|s| s.1.ring.clear());
    assert_eq!(
        dropped(&to_vip(), empty),
        "swarm-manager: no real server takes connections: 0 of 2 in the ring"
    );
    assert_eq!(
        dropped(&client, |own, _| own.deviations.push(program("program entry_in on eth0 in host"))),
        "swarm-manager: port 8000/tcp is not balanced: program entry_in on eth0 in host is missing"
    );
    assert_eq!(
        dropped(&to_vip(), |own, _| own.deviations.push(program("socket program connect4"))),
        "swarm-manager: 10.0.1.5 is not balanced: socket program connect4 is missing"
    );
    let entry = dropped(&client, |own, _| forget_forwarding(own, &ingress()));
    assert!(
        entry.starts_with("swarm-manager: vxlan0 in ") && entry.contains("no forwarding entry"),
        "{entry}"
    );
    let back = dropped(&to_vip(), |_, other| forget_forwarding(other, &my_demo()));
    assert!(back.starts_with("swarm-worker1: the answer is lost: vxlan0"), "{back}");
    let silent = dropped(&client, |_, other| other.tasks.get_mut(&whoami_2()).unwrap().running = false);
    assert_eq!(silent, "swarm-worker1: task whoami.2 does not run: it is running");
    let deaf = dropped(&client, |_, other| other.tasks.get_mut(&whoami_2()).unwrap().listeners.clear());
    assert_eq!(deaf, "swarm-worker1: nobody listens on 10.0.0.7:80/tcp in the task");
    let down = dropped(&client, |_, other| {
        let sandbox = other.namespaces.get_mut(&names::sandbox(&whoami_2())).unwrap();
        sandbox.links.get_mut("eth0").unwrap().up = false;
    });
    assert!(down.starts_with("swarm-worker1: link eth0 in ") && down.ends_with(" is down"), "{down}");
}

#[test]
fn a_node_that_is_not_heard_of_is_named() {
    let mut nodes = nodes();
    nodes.insert(there(), Err("it is down".to_owned()));
    let trace = follow(&from_outside(), &nodes);
    let last = trace.branches[1].hops.last().unwrap();
    assert_eq!((last.host.as_str(), last.dropped), ("swarm-worker1", true));
    assert_eq!(last.what, "the node is not heard of: it is down");
    assert!(trace.branches[0].hops.iter().all(|hop| !hop.dropped), "the other one arrives");
}
