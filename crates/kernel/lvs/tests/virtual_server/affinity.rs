//! Clients that keep their real server, for a while or by their address.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port, VIP};
use crate::talk::{Connection, Datagrams, eventually, names, names_as, spread};
use shoal_model::lvs::Scheduler;
use shoal_model::spec::Protocol;
use std::path::Path;
use std::time::{Duration, Instant};

const NODE: &str = "192.168.50.12:8080";
const DATAGRAMS: &str = "192.168.50.12:8053";

/// Tasks `a` on host 0 and `b` and `c` on host 1; host 2 has none. The client has the addresses .100 to .103.
fn lab(affinity: Option<u32>, scheduler: Scheduler) -> Lab {
    let mut lab = Lab::new(engine(), 3);
    for (task, host) in [("a", 0), ("b", 1), ("c", 1)] {
        lab.add_task(task, host);
    }
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.affinity = affinity;
    lab.scheduler = scheduler;
    lab.client.ip("addr add 192.168.50.101/24 dev eth0\n\
         addr add 192.168.50.102/24 dev eth0\n\
         addr add 192.168.50.103/24 dev eth0");
    lab.sync();
    lab
}

fn clients() -> [&'static str; 4] {
    ["192.168.50.100", "192.168.50.101", "192.168.50.102", "192.168.50.103"]
}

/// The one server that all of them reached.
fn only(names: &[String]) -> String {
    assert_eq!(spread(names).len(), 1, "{names:?}");
    names[0].clone()
}

#[test]
fn a_client_keeps_its_server_and_clients_are_spread() {
    let lab = lab(Some(60), Scheduler::RoundRobin);
    let of_each = || clients().map(|client| only(&names_as(&lab.client.path, client, NODE, 3)));
    let first = of_each();
    assert_eq!(spread(&first).len(), 3);
    assert_eq!(of_each(), first);
}

#[test]
fn new_datagram_sockets_of_a_client_keep_its_server_too() {
    let lab = lab(Some(60), Scheduler::RoundRobin);
    let reached = |client: &str| {
        let ask = |_| Datagrams::new(&lab.client.path, &format!("{client}:0")).ask(DATAGRAMS).unwrap().0.name;
        only(&(0..3).map(ask).collect::<Vec<_>>())
    };
    assert_eq!(spread(&clients().map(reached)).len(), 3);
}

#[test]
fn tasks_and_nodes_keep_theirs() {
    if excused() {
        return;
    }
    let lab = lab(Some(60), Scheduler::RoundRobin);
    let vip = format!("{VIP}:80");
    let of_tasks = ["a", "b", "c"].map(|task| only(&names(lab.namespace(task), &vip, 4)));
    // Those of one node are spread.
    assert_ne!(of_tasks[1], of_tasks[2]);
    let node = &lab.hosts[2].netns.path;
    let by_loopback = only(&names(node, "127.0.0.1:8080", 4));
    assert_eq!(only(&names(node, NODE, 4)), by_loopback);
}

fn quiet_for(time: Duration) {
    let since = Instant::now();
    eventually("quiet for long enough", || since.elapsed() > time);
}

#[test]
fn a_client_that_was_quiet_for_long_enough_is_a_new_one() {
    let lab = lab(Some(1), Scheduler::RoundRobin);
    let outside: &Path = &lab.client.path;
    for (namespace, to) in [(outside, NODE), (lab.namespace("a"), &format!("{VIP}:80"))] {
        let mut reached = Vec::new();
        for _ in 0..3 {
            reached.push(only(&names(namespace, to, 2)));
            quiet_for(Duration::from_millis(1100));
        }
        assert_eq!(spread(&reached).len(), 3, "by {to}");
    }
}

#[test]
fn a_server_that_leaves_the_ring_loses_its_clients_at_once() {
    let mut lab = lab(Some(60), Scheduler::RoundRobin);
    let outside = lab.client.path.clone();
    let first = only(&names(&outside, NODE, 3));
    let mut open = Connection::open(&outside, NODE.parse().unwrap()).unwrap();
    lab.tasks.get_mut(&first).unwrap().weight = 0;
    lab.sync();
    let second = only(&names(&outside, NODE, 3));
    assert_ne!(second, first);
    assert_eq!(open.ask().unwrap().name, first);
    lab.remove_task(&second);
    let third = only(&names(&outside, NODE, 3));
    assert!(third != first && third != second);
    // It comes back; its clients of old have moved on.
    lab.tasks.get_mut(&first).unwrap().weight = 1;
    lab.sync();
    assert_eq!(only(&names(&outside, NODE, 3)), third);
}

#[test]
fn without_affinity_every_connection_is_chosen_anew() {
    let mut lab = lab(Some(60), Scheduler::RoundRobin);
    only(&names(&lab.client.path, NODE, 3));
    lab.affinity = None;
    lab.sync();
    assert_eq!(spread(&names(&lab.client.path, NODE, 3)).len(), 3);
}

#[test]
fn by_source_a_client_has_the_same_server_on_every_node() {
    for scheduler in [Scheduler::SourceHash, Scheduler::Maglev] {
        let lab = lab(None, scheduler);
        for client in clients() {
            let by_node = (0..3).map(|host| {
                only(&names_as(&lab.client.path, client, &format!("192.168.50.1{host}:8080"), 2))
            });
            only(&by_node.collect::<Vec<_>>());
        }
    }
}
