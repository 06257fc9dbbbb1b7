//! Who may use a published port, and on which of the node's addresses.

use super::engine;
use crate::lab::{Lab, Port};
use crate::talk::{
    Connection, Datagrams, IMPATIENCE, Responder, ask, connect_from, ip, names, names_as, spread,
};
use shoal_model::spec::Protocol;
use std::io::ErrorKind;

const NODE: &str = "192.168.50.10:8080";
const OTHER: &str = "192.168.50.11:8080";
const DATAGRAMS: &str = "192.168.50.10:8053";

/// Tasks `a` on host 0 and `b` on host 1. The client has the addresses .100 and .101.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.client.ip("addr add 192.168.50.101/24 dev eth0");
    lab
}

fn allow(lab: &mut Lab, networks: &[&str]) {
    lab.access.allow = networks.iter().map(|text| text.parse().unwrap()).collect();
    lab.sync();
}

fn not_allowed(lab: &mut Lab, host: usize) -> u64 {
    lab.hosts[host].engine.as_mut().unwrap().drops().unwrap().not_allowed
}

/// Whether a connection from the client's first address comes about.
fn enters(lab: &Lab) -> bool {
    Connection::open_within(&lab.client.path, NODE.parse().unwrap(), IMPATIENCE).is_ok()
}

#[test]
fn only_clients_of_the_allowed_networks_get_through() {
    let mut lab = lab();
    allow(&mut lab, &["192.168.50.101/32", "10.9.0.0/16", "fd00::/8"]);
    assert_eq!(spread(&names_as(&lab.client.path, "192.168.50.101", NODE, 4)).len(), 2);
    assert_eq!(not_allowed(&mut lab, 0), 0);
    let refused = Connection::open_within(&lab.client.path, NODE.parse().unwrap(), IMPATIENCE);
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::TimedOut);
    let counted = not_allowed(&mut lab, 0);
    assert!(counted > 0);
    let datagrams = Datagrams::new(&lab.client.path, "192.168.50.100:0");
    datagrams.send(DATAGRAMS).unwrap();
    let allowed = Datagrams::new(&lab.client.path, "192.168.50.101:0");
    assert_eq!(allowed.ask(DATAGRAMS).unwrap().1.to_string(), DATAGRAMS);
    assert!(not_allowed(&mut lab, 0) > counted);
    allow(&mut lab, &["192.168.50.96/29"]);
    assert!(enters(&lab));
    allow(&mut lab, &["fd00::/8"]);
    assert!(!enters(&lab));
    allow(&mut lab, &["0.0.0.0/0"]);
    assert!(enters(&lab));
    allow(&mut lab, &[]);
    assert!(enters(&lab));
}

#[test]
fn a_connection_ends_with_its_permission() {
    let mut lab = lab();
    allow(&mut lab, &["192.168.50.100/31"]);
    let mut connection = connect_from(&lab.client.path, 0, NODE).unwrap();
    connection.ask().unwrap();
    allow(&mut lab, &["192.168.50.101/32"]);
    assert!(connection.ask().is_err());
}

#[test]
fn own_processes_and_containers_are_clients_with_the_address_of_the_node() {
    let mut lab = lab();
    let container = lab.add_container(0);
    allow(&mut lab, &["192.168.50.11/32"]);
    let own = lab.hosts[0].netns.path.clone();
    let to_others = ["127.0.0.1:8080", NODE].into_iter().map(|to| (&own, to));
    for (namespace, to) in to_others.chain([(&container, NODE)]) {
        let before = not_allowed(&mut lab, 0);
        assert!(Connection::open_within(namespace, to.parse().unwrap(), IMPATIENCE).is_err(), "{to}");
        assert!(not_allowed(&mut lab, 0) > before, "{to}");
    }
    let datagrams = Datagrams::new(&own, "0.0.0.0:0");
    let before = not_allowed(&mut lab, 0);
    let _ = datagrams.send("127.0.0.1:8053");
    assert!(not_allowed(&mut lab, 0) > before);
    assert_eq!(spread(&names(&lab.hosts[1].netns.path, "127.0.0.1:8080", 4)).len(), 2);
    allow(&mut lab, &["192.168.50.10/32"]);
    for (namespace, to) in [(&own, "127.0.0.1:8080"), (&own, NODE), (&container, NODE)] {
        assert_eq!(spread(&names(namespace, to, 4)).len(), 2, "{to}");
    }
}

#[test]
fn on_other_addresses_the_port_is_the_hosts() {
    let mut lab = lab();
    lab.access.addresses = Some([ip("192.168.50.11")].into());
    lab.sync();
    let outside = lab.client.path.clone();
    assert_eq!(spread(&names(&outside, OTHER, 4)).len(), 2);
    assert_eq!(ask(&outside, NODE).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let own = lab.hosts[0].netns.path.clone();
    for to in [NODE, "127.0.0.1:8080"] {
        assert_eq!(ask(&own, to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    let host = Responder::new(&own, "host", &[8080, 8053], &[]);
    for (namespace, to) in [(&outside, NODE), (&own, NODE), (&own, "127.0.0.1:8080")] {
        assert_eq!(names(namespace, to, 2), ["host", "host"], "{to}");
    }
    let datagrams = Datagrams::new(&outside, "0.0.0.0:0");
    assert_eq!(datagrams.ask(DATAGRAMS).unwrap().0.name, "host");
    drop(host);
    lab.access.addresses = None;
    lab.sync();
    assert_eq!(spread(&names(&outside, NODE, 4)).len(), 2);
    for host in lab.sync() {
        assert_eq!(host, []);
    }
}
