//! Published ports: anyone to any node.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port};
use crate::talk::{Connection, Datagrams, ask, connect_from, ip, names, spread};
use shoal_model::spec::Protocol;

/// Tasks `a` on host 0 and `b` on host 1; host 2 has none. 8080/tcp -> 80, 8081/tcp -> 81, 8053/udp -> 53.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 3);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![
        Port(Protocol::Tcp, 8080, 80),
        Port(Protocol::Tcp, 8081, 81),
        Port(Protocol::Udp, 8053, 53),
        Port(Protocol::Udp, 8081, 81),
    ];
    lab.sync();
    lab
}

#[test]
fn every_node_answers_for_every_task_and_the_client_address_is_kept() {
    let lab = lab();
    for host in 0..3 {
        let mut seen = Vec::new();
        for _ in 0..4 {
            let answer = ask(&lab.client.path, &format!("192.168.50.1{host}:8080")).unwrap();
            assert_eq!(answer.peer.ip(), ip("192.168.50.100"));
            assert_eq!(answer.port, 80);
            seen.push(answer.name);
        }
        assert_eq!(spread(&seen), [("a".to_owned(), 2), ("b".to_owned(), 2)], "by host {host}");
    }
}

#[test]
fn round_robin_is_exact() {
    let mut lab = lab();
    lab.add_task("c", 1);
    lab.sync();
    let seen = names(&lab.client.path, "192.168.50.12:8080", 9);
    assert_eq!(spread(&seen), [("a".to_owned(), 3), ("b".to_owned(), 3), ("c".to_owned(), 3)]);
    for three in seen.windows(3) {
        assert_eq!(spread(three).len(), 3, "{seen:?}");
    }
}

#[test]
fn two_published_ports_lead_to_their_own_targets() {
    let lab = lab();
    for (published, target) in [(8080, 80), (8081, 81)] {
        let answer = ask(&lab.client.path, &format!("192.168.50.12:{published}")).unwrap();
        assert_eq!(answer.port, target);
    }
}

#[test]
fn datagrams_stick_to_a_task_and_answers_come_from_where_they_were_sent() {
    let lab = lab();
    for host in 0..3 {
        let to = format!("192.168.50.1{host}:8053");
        let mut seen = Vec::new();
        for _ in 0..4 {
            let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
            let (first, from) = socket.ask(&to).unwrap();
            assert_eq!(from.to_string(), to);
            assert_eq!((first.port, first.peer.ip()), (53, ip("192.168.50.100")));
            assert_eq!(socket.ask(&to).unwrap().0.name, first.name);
            seen.push(first.name);
        }
        assert_eq!(spread(&seen), [("a".to_owned(), 2), ("b".to_owned(), 2)], "by host {host}");
    }
}

#[test]
fn bulk_data_passes_both_ways() {
    let lab = lab();
    for host in 0..3 {
        for _ in 0..2 {
            let to = format!("192.168.50.1{host}:8080").parse().unwrap();
            Connection::open(&lab.client.path, to).unwrap().exchange(3_000_000).unwrap();
        }
    }
}

#[test]
fn connections_by_two_nodes_from_one_port_of_one_client_are_told_apart() {
    let mut lab = lab();
    lab.remove_task("b");
    let mut connections: Vec<Connection> = ["192.168.50.10:8080", "192.168.50.11:8080", "192.168.50.12:8080"]
        .iter()
        .map(|to| connect_from(&lab.client.path, 40_000, to).unwrap())
        .collect();
    for _ in 0..3 {
        for connection in &mut connections {
            assert_eq!(connection.ask().unwrap().name, "a");
        }
    }
    // The first goes; the others, whose packets bear another port at the task, go on.
    connections.remove(0);
    for connection in &mut connections {
        connection.ask().unwrap();
    }
}

#[test]
fn a_port_that_a_client_uses_again_leads_to_a_new_connection() {
    let lab = lab();
    for _ in 0..4 {
        let mut connection = connect_from(&lab.client.path, 40_001, "192.168.50.12:8080").unwrap();
        connection.ask().unwrap();
        connection.reset();
    }
}

/// Lets the client send what it has for the floating address to this host.
fn move_to(lab: &Lab, host: usize) {
    let mac = lab.hosts[host].netns.mac("eth0");
    lab.client.ip(&format!("neigh replace 192.168.50.200 lladdr {mac} dev eth0 nud permanent"));
}

#[test]
fn a_connection_goes_on_when_its_node_address_moves_to_another_node() {
    if excused() {
        return;
    }
    let mut lab = lab();
    lab.remove_task("a");
    lab.floating = Some(ip("192.168.50.200"));
    lab.sync();
    move_to(&lab, 0);
    let mut connection = Connection::open(&lab.client.path, "192.168.50.200:8080".parse().unwrap()).unwrap();
    for host in [0, 2, 1, 0] {
        move_to(&lab, host);
        assert_eq!(connection.ask().unwrap().name, "b", "by host {host}");
    }
}

#[test]
fn a_datagram_server_on_a_socket_of_both_families_answers_as_the_node_too() {
    let lab = lab();
    for _ in 0..2 {
        let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
        let (_, from) = socket.ask("192.168.50.12:8081").unwrap();
        assert_eq!(from.to_string(), "192.168.50.12:8081");
    }
}
