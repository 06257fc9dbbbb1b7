//! Change, damage and restart, with traffic going on.

use super::engine;
use crate::lab::{Lab, Port, VIP};
use crate::talk::{Connection, Datagrams, IMPATIENCE, ask, eventually, names, spread};
use shoal_model::lvs::{Counters, VirtualServiceKey};
use shoal_model::spec::Protocol;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const MESH: &str = "192.168.50.11:8080";

/// Tasks `a` on host 0 and `b` on host 1.
pub(crate) fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

/// Three ways to the service: from outside, by the node's own processes, from a task.
pub(crate) fn ways(lab: &Lab) -> Vec<(std::path::PathBuf, SocketAddr)> {
    let vip = format!("{VIP}:80");
    [
        (lab.client.path.clone(), MESH),
        (lab.hosts[1].netns.path.clone(), "127.0.0.1:8080"),
        (lab.namespace("b").to_owned(), vip.as_str()),
    ]
    .into_iter()
    .map(|(path, to)| (path, to.parse().unwrap()))
    .collect()
}

/// Opens connections by every way until one to the task is found; the others are closed.
pub(crate) fn connections_to(lab: &Lab, name: &str) -> Vec<Connection> {
    ways(lab)
        .iter()
        .map(|(namespace, to)| {
            let mut tries = (0..4).map(|_| Connection::open(namespace, *to).unwrap());
            tries.find_map(|mut c| (c.ask().unwrap().name == name).then_some(c)).unwrap()
        })
        .collect()
}

#[test]
fn a_second_sync_finds_nothing() {
    let mut lab = lab();
    for host in lab.sync() {
        assert_eq!(host, []);
    }
}

#[test]
fn a_draining_task_keeps_its_connections_and_gets_no_new_ones() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "a");
    lab.tasks.get_mut("a").unwrap().weight = 0;
    lab.sync();
    for (namespace, to) in ways(&lab) {
        assert_eq!(spread(&names(&namespace, &to.to_string(), 4)), [("b".to_owned(), 4)], "by {to}");
    }
    for connection in &mut kept {
        assert_eq!(connection.ask().unwrap().name, "a");
    }
}

#[test]
fn a_removed_task_gets_nothing_and_the_others_everything() {
    let mut lab = lab();
    let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
    let first = socket.ask("192.168.50.11:8053").unwrap().0.name;
    let other = if first == "a" { "b" } else { "a" };
    lab.remove_task(&first);
    // The socket's flow was to the removed task; it moves on, as does every new connection.
    assert_eq!(socket.ask("192.168.50.11:8053").unwrap().0.name, other);
    assert_eq!(spread(&names(&lab.client.path, MESH, 4)), [(other.to_owned(), 4)]);
    for host in lab.sync() {
        assert_eq!(host, []);
    }
}

#[test]
fn an_established_connection_to_a_removed_task_does_not_hang() {
    let mut lab = lab();
    let mut connection = connections_to(&lab, "a").remove(0);
    lab.remove_task("a");
    let error = connection.ask().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_new_task_joins_and_everything_goes_when_nothing_is_declared() {
    let mut lab = lab();
    lab.add_task("c", 1);
    assert_ne!(lab.sync()[0], []);
    assert_eq!(spread(&names(&lab.client.path, MESH, 6)).len(), 3);
    let nothing = shoal_model::lvs::Table::default();
    for host in &mut lab.hosts {
        let engine = host.engine.as_mut().unwrap();
        assert_ne!(engine.sync(&nothing).unwrap(), []);
        assert_eq!(engine.sync(&nothing).unwrap(), []);
        assert!(engine.counters().unwrap().is_empty());
    }
    assert_eq!(ask(&lab.client.path, MESH).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Asks for the service again and again until told to stop; every failure counts.
pub(crate) fn keep_asking(namespace: &Path, to: SocketAddr, stop: &AtomicBool) -> (usize, Vec<io::Error>) {
    let (mut asked, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        let answer = Connection::open_within(namespace, to, IMPATIENCE).and_then(|mut c| c.ask());
        failures.extend(answer.err());
    }
    (asked, failures)
}

#[test]
fn restarting_the_daemon_disturbs_nobody() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "a");
    let ways = ways(&lab);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let askers: Vec<_> =
            ways.iter().map(|(path, to)| scope.spawn(|| keep_asking(path, *to, &stop))).collect();
        for _ in 0..3 {
            for host in 0..2 {
                lab.reopen(host);
            }
            for host in lab.sync() {
                assert_eq!(host, []);
            }
        }
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            let (asked, failures) = asker.join().unwrap();
            assert!(asked > 10, "only {asked}");
            assert!(failures.is_empty(), "{failures:?} of {asked}");
        }
    });
    for connection in &mut kept {
        assert_eq!(connection.ask().unwrap().name, "a");
    }
}

#[test]
fn traffic_flows_while_no_daemon_runs() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "b");
    for host in &mut lab.hosts {
        host.engine = None;
    }
    for (namespace, to) in ways(&lab) {
        assert_eq!(spread(&names(&namespace, &to.to_string(), 4)).len(), 2, "by {to}");
    }
    for connection in &mut kept {
        assert_eq!(connection.ask().unwrap().name, "b");
    }
}

/// Without what passed.
fn counted(lab: &mut Lab, host: usize, key: &VirtualServiceKey) -> BTreeMap<String, Counters> {
    let nothing = Counters::default();
    let without =
        |counters| Counters { packets_in: 0, packets_out: 0, bytes_in: 0, bytes_out: 0, ..counters };
    let by_task = lab.hosts[host].engine.as_mut().unwrap().counters().unwrap().remove(key).unwrap();
    let of = |id| without(by_task.get(id).copied().unwrap_or(nothing));
    lab.tasks.iter().map(|(name, task)| (name.clone(), of(&task.id))).collect()
}

#[test]
fn packets_and_bytes_are_counted_where_clients_enter() {
    if crate::exceptions::excused() {
        return;
    }
    let mut lab = lab();
    let key = VirtualServiceKey::Ingress { protocol: Protocol::Udp, port: 8053 };
    let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
    let (answer, _) = socket.ask("192.168.50.11:8053").unwrap();
    socket.send_sized("192.168.50.11:8053", 1000).unwrap();
    let id = lab.tasks[&answer.name].id.clone();
    let passed = lab.hosts[1].engine.as_mut().unwrap().counters().unwrap()[&key][&id];
    // Headers of IPv4 and UDP, and `who?`.
    assert_eq!((passed.packets_in, passed.bytes_in), (2, 28 + 4 + 28 + 1000));
    let answered = format!("{} 53 {}", answer.name, answer.peer).len() as u64;
    assert_eq!((passed.packets_out, passed.bytes_out), (2, 2 * (28 + answered)));
    let stream = VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8080 };
    Connection::open(&lab.client.path, MESH.parse().unwrap()).unwrap().exchange(1_000_000).unwrap();
    let counters = lab.hosts[1].engine.as_mut().unwrap().counters().unwrap();
    let sum = |of: fn(&Counters) -> u64| counters[&stream].values().map(of).sum::<u64>();
    for (bytes, packets) in
        [(sum(|c| c.bytes_in), sum(|c| c.packets_in)), (sum(|c| c.bytes_out), sum(|c| c.packets_out))]
    {
        assert!((1_000_000..1_200_000).contains(&bytes), "{bytes} bytes");
        assert!((690..5000).contains(&packets), "{packets} packets");
    }
    let other = lab.hosts[0].engine.as_mut().unwrap().counters().unwrap();
    assert!(other.values().flat_map(BTreeMap::values).all(|c| *c == Counters::default()));
}

#[test]
fn counters_tell_open_and_past_connections() {
    let mut lab = lab();
    let mesh = VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8080 };
    let vip = lab.table(1).services.into_keys().next().unwrap();
    let before = counted(&mut lab, 1, &mesh);
    assert!(before.values().all(|c| *c == Counters::default()));
    for (index, key) in [(0, &mesh), (2, &vip)] {
        let (namespace, to) = ways(&lab).remove(index);
        let mut open: Vec<Connection> = (0..4).map(|_| Connection::open(&namespace, to).unwrap()).collect();
        for connection in &mut open {
            connection.ask().unwrap();
        }
        let during = counted(&mut lab, 1, key);
        let two = Counters { active: 2, connections: 2, ..Counters::default() };
        assert_eq!(during, BTreeMap::from([("a".to_owned(), two), ("b".to_owned(), two)]), "{key:?}");
        drop(open);
        eventually("no connection active", || {
            counted(&mut lab, 1, key).values().all(|c| c.active == 0 && c.connections == 2)
        });
    }
}

#[test]
fn datagram_exchanges_count_as_inactive() {
    let mut lab = lab();
    let key = VirtualServiceKey::Ingress { protocol: Protocol::Udp, port: 8053 };
    let outside = Datagrams::new(&lab.client.path, "0.0.0.0:0");
    let first = outside.ask("192.168.50.11:8053").unwrap().0.name;
    let counters = counted(&mut lab, 1, &key)[&first];
    assert_eq!(counters, Counters { inactive: 1, connections: 1, ..Counters::default() });
    let own = Datagrams::new(&lab.hosts[1].netns.path, "0.0.0.0:0");
    let second = own.ask("127.0.0.1:8053").unwrap().0.name;
    assert_ne!(first, second);
    assert_eq!(counted(&mut lab, 1, &key)[&second].inactive, 1);
}
