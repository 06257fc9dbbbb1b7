//! More flows than the tables hold.

use super::engine;
use crate::lab::{Lab, Port};
use crate::raw::Raw;
use crate::talk::{Connection, Datagrams, ask};
use shoal_model::spec::Protocol;
use std::net::Ipv4Addr;

/// Many times more than the tests' engines have room for.
const FLOOD: u32 = 20_000;

fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

/// Connections that nobody waits for, from addresses of a network for benchmarks (RFC 2544).
fn flood(lab: &Lab) {
    for host in &lab.hosts {
        let raw = Raw::new(&lab.client, &host.address);
        for number in 0..FLOOD {
            let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
            raw.send_syn(from, 1024 + u16::try_from(number % 60_000).unwrap(), 8080);
        }
    }
}

#[test]
fn established_connections_and_exchanges_outlive_a_flood_of_others_that_only_begin() {
    let lab = lab();
    let mut connections = Vec::new();
    let mut exchanges = Vec::new();
    for host in &lab.hosts {
        for _ in 0..10 {
            let to = format!("{}:8080", host.address).parse().unwrap();
            let mut connection = Connection::open(&lab.client.path, to).unwrap();
            let name = connection.ask().unwrap().name;
            connections.push((connection, name));
        }
        let to = format!("{}:8053", host.address);
        let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
        socket.ask(&to).unwrap();
        let name = socket.ask(&to).unwrap().0.name;
        exchanges.push((socket, to, name));
    }
    flood(&lab);
    for (connection, name) in &mut connections {
        assert_eq!(connection.ask().unwrap().name, *name);
    }
    for (socket, to, name) in &exchanges {
        assert_eq!(socket.ask(to).unwrap().0.name, *name);
    }
    for host in &lab.hosts {
        ask(&lab.client.path, &format!("{}:8080", host.address)).unwrap();
    }
}
