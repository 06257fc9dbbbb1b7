//! Connections whose real server goes away under them end, rather than hang.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port, VIP};
use crate::talk::{Connection, Datagrams, ask, eventually, names, spread};
use shoal_model::lvs::VirtualServiceKey;
use shoal_model::spec::Protocol;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

const MESH: &str = "192.168.50.10:8080";

/// Tasks `a` on host 0 and `b` on host 1.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

/// Three ways to the service that begin at host 0: from outside, by the node's own processes, from a task.
fn ways(lab: &Lab) -> [(PathBuf, String); 3] {
    [
        (lab.client.path.clone(), MESH.to_owned()),
        (lab.hosts[0].netns.path.clone(), "127.0.0.1:8080".to_owned()),
        (lab.namespace("a").to_owned(), format!("{VIP}:80")),
    ]
}

/// An open connection by every way, to this task.
fn connections_to(lab: &Lab, name: &str) -> Vec<Connection> {
    let by = |(namespace, to): (PathBuf, String)| {
        let to: SocketAddr = to.parse().unwrap();
        let mut tries = (0..4).map(|_| Connection::open(&namespace, to).unwrap());
        tries.find_map(|mut c| (c.ask().unwrap().name == name).then_some(c)).unwrap()
    };
    ways(lab).map(by).into()
}

fn ended(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}

/// Connections reset on host 0, of both ways to a service.
fn resets(lab: &mut Lab) -> [u64; 2] {
    let counters = lab.hosts[0].engine.as_mut().unwrap().counters().unwrap();
    let vip = lab.table(0).services.into_keys().next().unwrap();
    [vip, VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8080 }]
        .map(|key| counters[&key].values().map(|server| server.resets).sum())
}

#[test]
fn clients_that_only_listen_are_told_when_a_task_is_taken_away() {
    if excused() {
        return;
    }
    let mut lab = lab();
    let mut connections = connections_to(&lab, "b");
    assert_eq!(resets(&mut lab), [0, 0]);
    let task = lab.undeclare("b");
    for connection in &mut connections {
        assert!(ended(connection.listen().unwrap_err().kind()));
    }
    // Nor does the task hold on to its end.
    eventually("the task's end is gone", || {
        task.netns.output(&["ss", "-Htn", "state", "established", "sport", "=", ":80"]).is_empty()
    });
    for (namespace, to) in ways(&lab) {
        assert_eq!(spread(&names(&namespace, &to, 2)), [("a".to_owned(), 2)]);
    }
}

#[test]
fn connections_end_with_the_port_that_they_were_made_to() {
    if excused() {
        return;
    }
    let mut lab = lab();
    lab.ports.push(Port(Protocol::Tcp, 8090, 80));
    lab.sync();
    let open = |port: u16| {
        let mut connections = [0; 2].map(|_| {
            Connection::open(&lab.client.path, format!("192.168.50.10:{port}").parse().unwrap()).unwrap()
        });
        let names = connections.each_mut().map(|connection| connection.ask().unwrap().name);
        assert_eq!(spread(&names).len(), 2);
        connections
    };
    let (mut ended_ones, mut others) = (open(8090), open(8080));
    lab.ports.pop();
    lab.sync();
    for connection in &mut ended_ones {
        assert!(ended(connection.listen().unwrap_err().kind()));
    }
    for connection in &mut others {
        connection.ask().unwrap();
    }
    let refused = ask(&lab.client.path, "192.168.50.10:8090").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// Cuts host 1 off, and lets host 0 know that its tasks are dead.
fn lose_host_1(lab: &mut Lab) {
    lab.hosts[1].netns.ip("link set eth0 down");
    drop(lab.tasks.remove("b"));
    lab.sync_host(0);
}

#[test]
fn connections_to_tasks_of_a_dead_node_are_reset_and_counted() {
    if excused() {
        return;
    }
    let mut lab = lab();
    let mut connections = connections_to(&lab, "b");
    lose_host_1(&mut lab);
    assert_eq!(resets(&mut lab), [1, 2]);
    let [outside, own, task] = &mut connections[..] else { panic!("not three ways") };
    assert_eq!(outside.ask().unwrap_err().kind(), ErrorKind::ConnectionReset);
    // Nobody else was asked: the node itself refused.
    let known = lab.hosts[0].engine.as_mut().unwrap().connections().unwrap();
    assert!(known.iter().all(|known| known.client != outside.own()), "{known:?}");
    for connection in [own, task] {
        assert!(ended(connection.listen().unwrap_err().kind()));
    }
    lab.sync_host(0);
    assert_eq!(resets(&mut lab), [1, 2]);
}

#[test]
fn the_last_task_of_a_service_takes_its_connections_with_it() {
    let mut lab = lab();
    lab.remove_task("a");
    let mut outside = Connection::open(&lab.client.path, MESH.parse().unwrap()).unwrap();
    outside.ask().unwrap();
    lose_host_1(&mut lab);
    assert_eq!(outside.ask().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(ask(&lab.client.path, MESH).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn datagram_sockets_of_a_dead_task_move_or_get_an_error() {
    let mut lab = lab();
    let task = lab.namespace("a").to_owned();
    let vip = format!("{VIP}:53");
    let connected = [0; 2].map(|_| {
        let socket = Datagrams::new(&task, "0.0.0.0:0");
        socket.connect(&vip);
        let name = socket.ask_connected().unwrap().name;
        (socket, name)
    });
    let unconnected = [0; 2].map(|_| Datagrams::new(&task, "0.0.0.0:0"));
    let outside = [0; 2].map(|_| Datagrams::new(&lab.client.path, "0.0.0.0:0"));
    let reached: Vec<String> = unconnected.iter().map(|s| s.ask(&vip).unwrap().0.name).collect();
    assert_eq!(spread(&reached).len(), 2);
    let reached: Vec<String> = outside.iter().map(|s| s.ask("192.168.50.10:8053").unwrap().0.name).collect();
    assert_eq!(spread(&reached).len(), 2);
    lose_host_1(&mut lab);
    for (socket, name) in &connected {
        if name == "a" {
            assert_eq!(socket.ask_connected().unwrap().name, "a");
        } else {
            assert!(ended(socket.listen().unwrap_err().kind()));
            assert!(socket.ask_connected().is_err());
        }
    }
    for socket in &unconnected {
        assert_eq!(socket.ask(&vip).unwrap().0.name, "a");
    }
    for socket in &outside {
        assert_eq!(socket.ask("192.168.50.10:8053").unwrap().0.name, "a");
    }
}

#[test]
fn a_draining_task_keeps_connected_datagram_sockets_and_silent_connections() {
    let mut lab = lab();
    let mut connections = connections_to(&lab, "b");
    let sockets = [0; 2].map(|_| {
        let socket = Datagrams::new(lab.namespace("a"), "0.0.0.0:0");
        socket.connect(&format!("{VIP}:53"));
        let name = socket.ask_connected().unwrap().name;
        (socket, name)
    });
    lab.tasks.get_mut("b").unwrap().weight = 0;
    lab.sync();
    for connection in &mut connections {
        assert_eq!(connection.ask().unwrap().name, "b");
    }
    for (socket, name) in &sockets {
        assert_eq!(socket.ask_connected().unwrap().name, *name);
    }
    assert_eq!(resets(&mut lab), [0, 0]);
}
