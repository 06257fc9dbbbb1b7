//! Looking without touching: differences, connections, dropped packets.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port, VIP};
use crate::talk::{Connection, Datagrams, eventually, ip};
use shoal_lvs::{Difference, Found, Subject};
use shoal_model::lvs::{Connection as Known, Drops, VirtualServiceKey};
use shoal_model::spec::Protocol;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Tasks `a` on host 0 and `b` on host 1.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

fn check(lab: &mut Lab, host: usize) -> Vec<Difference> {
    let table = lab.table(host);
    lab.hosts[host].engine.as_mut().unwrap().check(&table).unwrap()
}

fn known(lab: &mut Lab, host: usize) -> Vec<Known> {
    lab.hosts[host].engine.as_mut().unwrap().connections().unwrap()
}

#[test]
fn a_check_tells_what_a_sync_would_find_and_changes_nothing() {
    let mut lab = Lab::new(engine(), 1);
    let before = check(&mut lab, 0);
    assert_ne!(before, []);
    assert!(before.iter().all(|difference| difference.unrepaired.is_none()));
    assert_eq!(lab.sync().remove(0), before);
    assert_eq!(check(&mut lab, 0), []);
    lab.add_task("a", 0);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80)];
    for _ in 0..2 {
        let found = check(&mut lab, 0);
        let port = Subject::Service(VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8080 });
        assert!(found.iter().any(|d| d.subject == port && d.found == Found::Missing), "{found:?}");
        assert!(lab.hosts[0].engine.as_mut().unwrap().counters().unwrap().values().all(BTreeMap::is_empty));
    }
    let found = check(&mut lab, 0);
    assert_eq!(lab.sync().remove(0), found);
    assert_eq!(check(&mut lab, 0), []);
}

#[test]
fn connections_of_clients_are_known_where_they_enter() {
    let mut lab = lab();
    let asked: SocketAddr = "192.168.50.11:8080".parse().unwrap();
    let mut connection = Connection::open(&lab.client.path, asked).unwrap();
    let name = connection.ask().unwrap().name;
    let task = &lab.tasks[&name];
    let (id, real) = (task.id.clone(), format!("{}:80", task.ingress_address()));
    let [seen] = &known(&mut lab, 1)[..] else { panic!("not one connection") };
    assert_eq!((seen.protocol, seen.client, seen.asked), (Protocol::Tcp, connection.own(), asked));
    assert_eq!((seen.real.to_string(), &seen.task, &*seen.state), (real, &id, "ESTABLISHED"));
    assert!(seen.expires > 3600);
    assert_eq!(known(&mut lab, 0), []);
    drop(connection);
    eventually("the connection is closed", || known(&mut lab, 1).iter().all(|c| c.state == "CLOSE"));
    let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
    socket.ask("192.168.50.11:8053").unwrap();
    let datagrams: Vec<Known> =
        known(&mut lab, 1).into_iter().filter(|c| c.protocol == Protocol::Udp).collect();
    let [seen] = &datagrams[..] else { panic!("{datagrams:?}") };
    assert_eq!((seen.client.ip(), &*seen.state), (ip("192.168.50.100"), "UDP"));
    assert!((1..=120).contains(&seen.expires));
}

#[test]
fn connections_of_tasks_and_own_processes_are_known_until_they_are_closed() {
    if excused() {
        return;
    }
    let mut lab = lab();
    let node = lab.hosts[0].netns.path.clone();
    for (namespace, to) in
        [(lab.namespace("a").to_owned(), format!("{VIP}:80")), (node, "127.0.0.1:8080".into())]
    {
        let asked: SocketAddr = to.parse().unwrap();
        let mut connection = Connection::open(&namespace, asked).unwrap();
        let answer = connection.ask().unwrap();
        let [seen] = &known(&mut lab, 0)[..] else { panic!("not one connection to {to}") };
        assert_eq!((seen.protocol, seen.client, seen.asked), (Protocol::Tcp, connection.own(), asked));
        assert_eq!((&seen.task, &*seen.state), (&lab.tasks[&answer.name].id, "ESTABLISHED"));
        assert_eq!(seen.real.port(), 80);
        drop(connection);
        assert_eq!(known(&mut lab, 0), []);
    }
}

#[test]
fn datagram_sockets_are_known_connected_or_not() {
    if excused() {
        return;
    }
    let mut lab = lab();
    let vip: SocketAddr = format!("{VIP}:53").parse().unwrap();
    let connected = Datagrams::new(lab.namespace("a"), "0.0.0.0:0");
    connected.connect(&vip.to_string());
    connected.ask_connected().unwrap();
    let [seen] = &known(&mut lab, 0)[..] else { panic!("not one") };
    assert_eq!((seen.protocol, seen.client, seen.asked), (Protocol::Udp, connected.own(), vip));
    drop(connected);
    let unconnected = Datagrams::new(lab.namespace("a"), "0.0.0.0:0");
    let name = unconnected.ask(&vip.to_string()).unwrap().0.name;
    let [seen] = &known(&mut lab, 0)[..] else { panic!("not one") };
    assert_eq!((seen.client, seen.asked, &seen.task), (unconnected.own(), vip, &lab.tasks[&name].id));
}

#[test]
fn an_answer_that_belongs_to_no_flow_is_dropped_and_counted() {
    if excused() {
        return;
    }
    let mut lab = lab();
    let drops = |lab: &mut Lab| lab.hosts[1].engine.as_mut().unwrap().drops().unwrap();
    assert_eq!(drops(&mut lab), Drops::default());
    // From a task through its node's sandbox, as if it answered; but nobody asked.
    let mac = lab.hosts[1].sandbox.mac("eth0");
    let task = &lab.tasks["b"].netns;
    task.ip(&format!(
        "addr add 192.168.50.11/32 dev lo\n\
         neigh replace 192.168.50.100 lladdr {mac} dev eth0 nud permanent\n\
         route add 192.168.50.100 dev eth0 src 192.168.50.11"
    ));
    let forged = Datagrams::new(&task.path, "192.168.50.11:8053");
    eventually("the stray answer is counted", || {
        let _ = forged.send("192.168.50.100:999");
        drops(&mut lab).unknown_flow > 0
    });
}
