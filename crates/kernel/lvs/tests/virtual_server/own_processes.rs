//! Published ports, asked for by the node's own processes and containers.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port};
use crate::talk::{Connection, Datagrams, ask, ip, names, spread};
use shoal_model::spec::Protocol;

/// Tasks `a` on host 0 and `b` on host 1; host 2 has none.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 3);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

#[test]
fn reach_tasks_on_every_node_by_loopback_and_by_the_own_address() {
    let lab = lab();
    for (index, host) in lab.hosts.iter().enumerate() {
        for to in ["127.0.0.1:8080", "127.1.2.3:8080", &format!("{}:8080", host.address)] {
            let seen = names(&host.netns.path, to, 4);
            let both = [("a".to_owned(), 2), ("b".to_owned(), 2)];
            assert_eq!(spread(&seen), both, "{to} on host {index}");
        }
        let answer = ask(&host.netns.path, "127.0.0.1:8080").unwrap();
        assert_eq!(answer.peer.ip(), ip(&host.address));
    }
}

#[test]
fn see_the_peer_that_they_asked_for() {
    let lab = lab();
    let host = &lab.hosts[2].netns.path;
    for to in ["127.0.0.1:8080", "192.168.50.12:8080", "[::ffff:127.0.0.1]:8080"] {
        let mut connection = Connection::open(host, to.parse().unwrap()).unwrap();
        connection.ask().unwrap();
        assert_eq!(connection.peer().to_string(), to);
    }
}

#[test]
fn see_the_peer_that_they_asked_for_over_ipv6_loopback() {
    if excused() {
        return;
    }
    let lab = lab();
    let mut connection = Connection::open(&lab.hosts[2].netns.path, "[::1]:8080".parse().unwrap()).unwrap();
    connection.ask().unwrap();
    assert_eq!(connection.peer().to_string(), "[::1]:8080");
}

#[test]
fn exchange_datagrams() {
    let lab = lab();
    let host = &lab.hosts[2].netns.path;
    for to in ["127.0.0.1:8053", "192.168.50.12:8053"] {
        let socket = Datagrams::new(host, "0.0.0.0:0");
        let (answer, from) = socket.ask(to).unwrap();
        assert_eq!(from.to_string(), to);
        assert_eq!(answer.peer.ip(), ip("192.168.50.12"));
        let connected = Datagrams::new(host, "0.0.0.0:0");
        connected.connect(to);
        assert_eq!(connected.ask_connected().unwrap().port, 53);
        assert_eq!(connected.peer().to_string(), to);
    }
}

#[test]
fn are_refused_at_once_on_ports_that_nobody_published_or_serves() {
    let mut lab = lab();
    lab.tasks.get_mut("a").unwrap().weight = 0;
    lab.tasks.get_mut("b").unwrap().weight = 0;
    lab.sync();
    let host = &lab.hosts[2].netns.path;
    for to in ["127.0.0.1:8080", "127.0.0.1:9999", "192.168.50.12:8080"] {
        assert_eq!(ask(host, to).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{to}");
    }
    let from_outside = ask(&lab.client.path, "192.168.50.12:8080").unwrap_err();
    assert_eq!(from_outside.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn of_containers_reach_the_ports_of_their_own_and_of_other_nodes() {
    let mut lab = lab();
    let container = lab.add_container(0);
    lab.sync();
    let task = lab.namespace("a").to_owned();
    for namespace in [&container, &task] {
        for to in ["192.168.50.10:8080", "192.168.50.11:8080", "192.168.50.12:8080"] {
            let seen = names(namespace, to, 4);
            assert_eq!(spread(&seen), [("a".to_owned(), 2), ("b".to_owned(), 2)], "{to}");
            let connection = Connection::open(namespace, to.parse().unwrap()).unwrap();
            assert_eq!(connection.peer().to_string(), to);
        }
        // Their loopback is their own.
        assert!(ask(namespace, "127.0.0.1:8080").is_err());
    }
}
