//! Sockets as programs really use them: mapped addresses, connected datagrams, long exchanges, one port for many flows.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port, VIP};
use crate::talk::{Connection, Datagrams, connect_from, ip};
use shoal_model::spec::Protocol;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Tasks `a` on host 0 and `b` on host 1.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports =
        vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Tcp, 8090, 80), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

/// Leaves the client no choice.
fn only(lab: &mut Lab, name: &str) {
    for (other, task) in &mut lab.tasks {
        task.weight = u32::from(other == name);
    }
    lab.sync();
}

#[test]
fn connected_datagram_sockets_of_ipv6_reach_mapped_addresses() {
    let lab = lab();
    let mapped = format!("[::ffff:{VIP}]:53");
    let node = "[::ffff:127.0.0.1]:8053".to_owned();
    for (namespace, to) in [(lab.namespace("a"), mapped), (&*lab.hosts[0].netns.path, node)] {
        for _ in 0..2 {
            let socket = Datagrams::new(namespace, "[::]:0");
            socket.connect(&to);
            let first = socket.ask_connected().unwrap();
            assert_eq!((first.port, socket.ask_connected().unwrap().name), (53, first.name));
            assert_eq!(socket.peer().to_string(), to);
        }
    }
}

#[test]
fn a_task_reaches_itself_by_every_kind_of_socket() {
    let mut lab = lab();
    only(&mut lab, "a");
    let own = ip(&lab.tasks["a"].overlay_address());
    let task = lab.namespace("a");
    for to in [format!("{VIP}:53"), format!("[::ffff:{VIP}]:53")] {
        let local = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let unconnected = Datagrams::new(task, local);
        let (answer, from) = unconnected.ask(&to).unwrap();
        assert_eq!((&*answer.name, answer.peer.ip(), from.to_string()), ("a", own, to.clone()));
        let connected = Datagrams::new(task, local);
        connected.connect(&to);
        assert_eq!(connected.ask_connected().unwrap().name, "a");
        let stream = to.replace("]:53", "]:80").replace(".2:53", ".2:80");
        let mut connection = Connection::open(task, stream.parse().unwrap()).unwrap();
        assert_eq!(connection.ask().unwrap().peer.ip(), own);
        assert_eq!(connection.peer().to_string(), stream);
    }
    // By a port of its own node, too.
    let mut connection = Connection::open(task, "192.168.50.10:8080".parse().unwrap()).unwrap();
    assert_eq!(connection.ask().unwrap().name, "a");
}

/// Every way to the datagram port: from outside, by the node's own processes, by a task.
fn datagram_ways(lab: &Lab) -> [(PathBuf, String); 3] {
    [
        (lab.client.path.clone(), "192.168.50.10:8053".to_owned()),
        (lab.hosts[0].netns.path.clone(), "127.0.0.1:8053".to_owned()),
        (lab.namespace("a").to_owned(), format!("{VIP}:53")),
    ]
}

#[test]
fn long_exchanges_keep_their_task_through_every_change_of_the_service() {
    let mut lab = lab();
    let exchanges = datagram_ways(&lab).map(|(namespace, to)| {
        let socket = Datagrams::new(&namespace, "0.0.0.0:0");
        let name = socket.ask(&to).unwrap().0.name;
        (socket, to, name)
    });
    let go_on = |what: &str| {
        for (socket, to, name) in &exchanges {
            for _ in 0..20 {
                assert_eq!(socket.ask(to).unwrap().0.name, *name, "{to} after {what}");
            }
        }
    };
    go_on("nothing");
    lab.add_task("c", 1);
    lab.sync();
    go_on("a task joined");
    for name in ["a", "b"] {
        lab.tasks.get_mut(name).unwrap().weight = 0;
    }
    lab.sync();
    go_on("their tasks began to drain");
    lab.reopen(0);
    lab.sync();
    go_on("the daemon restarted");
}

#[test]
fn many_flows_from_one_port_of_one_client_to_one_task_are_told_apart() {
    let mut lab = lab();
    only(&mut lab, "b");
    let outside = lab.client.path.clone();
    let mut connections: Vec<Connection> =
        ["192.168.50.10:8080", "192.168.50.10:8090", "192.168.50.11:8080", "192.168.50.11:8090"]
            .iter()
            .map(|to| connect_from(&outside, 41_000, to).unwrap())
            .collect();
    for _ in 0..2 {
        for connection in &mut connections {
            assert_eq!(connection.ask().unwrap().name, "b");
        }
    }
}

#[test]
fn one_port_of_a_task_may_lead_to_virtual_addresses_and_to_a_task_directly() {
    if excused() {
        return;
    }
    let mut lab = lab();
    only(&mut lab, "b");
    let task = lab.namespace("a").to_owned();
    let direct = lab.tasks["b"].overlay_address();
    let mut connections: Vec<(String, Connection)> =
        [format!("{VIP}:80"), format!("{VIP}:81"), "192.168.50.10:8080".to_owned()]
            .into_iter()
            .map(|to| (to.clone(), connect_from(&task, 42_000, &to).unwrap()))
            .collect();
    for (to, connection) in &mut connections {
        assert_eq!(connection.ask().unwrap().name, "b");
        assert_eq!(connection.peer().to_string(), *to);
    }
    // The kernel itself sees that this one would be the first one again, and refuses rather than mixing them up.
    let twice = connect_from(&task, 42_000, &format!("{direct}:80")).err().unwrap();
    assert_eq!(twice.kind(), ErrorKind::AddrNotAvailable);
    for (_, connection) in &mut connections {
        connection.ask().unwrap();
    }
    // From a port that the kernel chooses all is well.
    let mut direct = Connection::open(&task, format!("{direct}:80").parse().unwrap()).unwrap();
    assert_eq!(direct.ask().unwrap().name, "b");
}

#[test]
fn a_virtual_address_answers_pings_of_its_tasks() {
    let lab = lab();
    for task in ["a", "b"] {
        lab.tasks[task].netns.output(&["ping", "-c", "1", "-W", "2", VIP]);
    }
}
