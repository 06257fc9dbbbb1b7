//! How long the eBPF engine's flows live, with limits that a test can wait for.

use super::EbpfEngine;
use crate::lab::{Engine, Lab, Place, Port};
use crate::talk::{Connection, Datagrams, eventually};
use shoal_lvs::{Ebpf, IdleLimits, TcAttachment, VirtualServer};
use shoal_model::lvs::VirtualServiceKey;
use shoal_model::spec::Protocol;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// Forgets everything but connections in no time.
struct Hasty(EbpfEngine);

impl Engine for Hasty {
    fn open(&self, place: &Place) -> Box<dyn VirtualServer> {
        let mut config = self.0.config(place);
        let soon = Duration::from_millis(100);
        config.idle = IdleLimits { datagram: soon, opening: soon, closed: soon, ..IdleLimits::default() };
        Box::new(Ebpf::open(&config).unwrap_or_else(|e| panic!("{e:?}")))
    }

    fn remove(&self, place: &Place) {
        self.0.remove(place);
    }
}

/// Several tasks, so that a connection which is forgotten most likely meets the wrong one and is reset.
fn lab() -> Lab {
    let mut lab = Lab::new(Box::new(Hasty(EbpfEngine(TcAttachment::Auto))), 2);
    for name in ["a", "b", "c"] {
        lab.add_task(name, 1);
    }
    lab.ports =
        vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Tcp, 8090, 90), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

/// Waits until everything is forgotten that is to be forgotten: flows of datagrams that began now are.
fn wait_for_limits(lab: &mut Lab) {
    let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
    for _ in 0..2 {
        socket.ask("192.168.50.10:8053").unwrap();
    }
    let key = VirtualServiceKey::Ingress { protocol: Protocol::Udp, port: 8053 };
    let inactive = |lab: &mut Lab| {
        lab.sync();
        let counters = lab.hosts[0].engine.as_mut().unwrap().counters().unwrap();
        counters[&key].values().map(|counters| counters.inactive).sum::<u64>()
    };
    eventually("an end of the exchange of datagrams", || inactive(lab) == 0);
}

#[test]
fn an_idle_connection_outlives_the_limits_of_opening_and_closing_ones() {
    let mut lab = lab();
    let to = "192.168.50.10:8080".parse().unwrap();
    let mut connections: Vec<Connection> =
        (0..6).map(|_| Connection::open(&lab.client.path, to).unwrap()).collect();
    let names: Vec<String> = connections.iter_mut().map(|c| c.ask().unwrap().name).collect();
    wait_for_limits(&mut lab);
    for (connection, name) in connections.iter_mut().zip(&names) {
        assert_eq!(connection.ask().unwrap().name, *name);
    }
}

/// Both ends of a new connection to each task.
fn ends(lab: &Lab) -> Vec<(TcpStream, TcpStream)> {
    let listen = |name: &str| lab.tasks[name].netns.within(|| TcpListener::bind("0.0.0.0:90").unwrap());
    let listeners = ["a", "b", "c"].map(listen);
    let clients = [(); 3].map(|()| lab.client.within(|| TcpStream::connect("192.168.50.10:8090").unwrap()));
    let patient = |stream: &TcpStream| stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let mut ends = Vec::new();
    for listener in listeners {
        let (server, peer) = listener.accept().unwrap();
        let client = clients.iter().find(|client| client.local_addr().unwrap().port() == peer.port());
        let client = client.unwrap().try_clone().unwrap();
        patient(&server);
        patient(&client);
        ends.push((client, server));
    }
    ends
}

#[test]
fn half_closed_connections_go_on_for_long() {
    let mut lab = lab();
    for done_by_client in [true, false] {
        let mut ends = ends(&lab);
        for (client, server) in &mut ends {
            let (done, other) = if done_by_client { (client, server) } else { (server, client) };
            done.shutdown(Shutdown::Write).unwrap();
            assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);
        }
        wait_for_limits(&mut lab);
        for (client, server) in &mut ends {
            let (done, other) = if done_by_client { (client, server) } else { (server, client) };
            other.write_all(b"still here").unwrap();
            let mut heard = [0; 10];
            done.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"still here");
            other.shutdown(Shutdown::Write).unwrap();
            assert_eq!(done.read(&mut heard).unwrap(), 0);
        }
    }
}

#[test]
fn connections_closed_by_both_sides_at_once_are_forgotten() {
    let mut lab = lab();
    for (mut client, mut server) in ends(&lab) {
        client.shutdown(Shutdown::Write).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    }
    let key = VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8090 };
    eventually("no connection left", || {
        lab.sync();
        let counters = lab.hosts[0].engine.as_mut().unwrap().counters().unwrap();
        counters[&key].values().all(|counters| counters.active == 0 && counters.inactive == 0)
    });
}
