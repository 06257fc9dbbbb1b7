//! Published ports over IPv6, beside IPv4 and alone.

use super::engine;
use crate::lab::{Lab, Port};
use crate::talk::{Connection, Datagrams, ask, ip, names, spread};
use shoal_model::spec::Protocol;

/// Tasks `a` on host 0 and `b` on host 1; host 2 has none. 8081 -> 81 of both protocols.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 3);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8081, 81), Port(Protocol::Udp, 8081, 81)];
    lab.sync();
    lab
}

fn both() -> Vec<(String, usize)> {
    vec![("a".to_owned(), 2), ("b".to_owned(), 2)]
}

/// Four connections and four exchanges of datagrams by every node, each with the client's own address.
fn works(lab: &Lab) {
    for host in &lab.hosts {
        let to = format!("[{}]:8081", host.address6());
        let mut seen = Vec::new();
        for _ in 0..4 {
            let answer = ask(&lab.client.path, &to).unwrap();
            assert_eq!((answer.port, answer.peer.ip()), (81, ip("fd50::100")));
            seen.push(answer.name);
        }
        assert_eq!(spread(&seen), both(), "streams by {to}");
        seen.clear();
        for _ in 0..4 {
            let socket = Datagrams::new(&lab.client.path, "[::]:0");
            let (answer, from) = socket.ask(&to).unwrap();
            assert_eq!(from.to_string(), to);
            assert_eq!((answer.port, answer.peer.ip()), (81, ip("fd50::100")));
            assert_eq!(socket.ask(&to).unwrap().0.name, answer.name);
            seen.push(answer.name);
        }
        assert_eq!(spread(&seen), both(), "datagrams by {to}");
    }
}

#[test]
fn every_node_answers_for_every_task_and_the_client_address_is_kept() {
    works(&lab());
}

#[test]
fn an_ingress_network_of_ipv6_alone_serves_ipv6_clients() {
    let mut lab = lab();
    lab.only_ipv6 = true;
    lab.sync();
    works(&lab);
    assert!(ask(&lab.client.path, "192.168.50.12:8081").is_err());
}

#[test]
fn bulk_data_passes_both_ways() {
    let lab = lab();
    for host in &lab.hosts {
        for _ in 0..2 {
            let to = format!("[{}]:8081", host.address6()).parse().unwrap();
            Connection::open(&lab.client.path, to).unwrap().exchange(3_000_000).unwrap();
        }
    }
}

#[test]
fn a_task_without_an_address_of_the_client_s_family_is_passed_over() {
    let mut lab = lab();
    lab.tasks.get_mut("a").unwrap().speaks_ipv6 = false;
    lab.sync();
    let to = format!("[{}]:8081", lab.hosts[2].address6());
    assert_eq!(spread(&names(&lab.client.path, &to, 4)), [("b".to_owned(), 4)]);
    assert_eq!(spread(&names(&lab.client.path, "192.168.50.12:8081", 4)), both());
    lab.tasks.get_mut("b").unwrap().speaks_ipv6 = false;
    lab.sync();
    let refused = ask(&lab.client.path, &to).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn extension_headers_do_not_hide_the_port() {
    let lab = lab();
    let socket = Datagrams::new(&lab.client.path, "[::]:0");
    // One unit of eight bytes: next header and length are the kernel's to fill in, then six bytes of padding.
    socket.add_destination_options([0, 0, 1, 4, 0, 0, 0, 0]);
    for host in &lab.hosts {
        let to = format!("[{}]:8081", host.address6());
        let (answer, from) = socket.ask(&to).unwrap();
        assert_eq!((answer.port, from.to_string()), (81, to));
    }
}
