//! Tasks that ask for a service by its virtual address.

use super::engine;
use crate::lab::{Lab, VIP, VIP6};
use crate::talk::{Connection, Datagrams, IMPATIENCE, ask, ip, names, spread};
use shoal_model::lvs::Scheduler;
use std::collections::BTreeSet;
use std::io::ErrorKind;

/// Tasks `a` on host 0 and `b` on host 1.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.sync();
    lab
}

fn vip(port: u16) -> String {
    format!("{VIP}:{port}")
}

#[test]
fn connections_are_spread_over_hosts_and_reach_the_task_itself_too() {
    let lab = lab();
    for task in ["a", "b"] {
        let seen = names(lab.namespace(task), &vip(80), 6);
        assert_eq!(spread(&seen), [("a".to_owned(), 3), ("b".to_owned(), 3)]);
    }
}

#[test]
fn every_port_is_balanced_and_kept() {
    let lab = lab();
    for port in [80, 81] {
        assert_eq!(ask(lab.namespace("a"), &vip(port)).unwrap().port, port);
    }
}

#[test]
fn the_server_sees_the_task_and_the_task_sees_the_virtual_address() {
    let lab = lab();
    for to in [vip(80), format!("[::ffff:{VIP}]:80")] {
        for _ in 0..2 {
            let mut connection = Connection::open(lab.namespace("a"), to.parse().unwrap()).unwrap();
            let answer = connection.ask().unwrap();
            assert_eq!(answer.peer.ip(), ip(&lab.tasks["a"].overlay_address()));
            assert_eq!(connection.peer().to_string(), to);
        }
    }
}

#[test]
fn a_namespace_that_is_not_registered_is_left_alone() {
    let mut lab = lab();
    lab.tasks.get_mut("a").unwrap().registered = false;
    lab.sync();
    // The address is one of its own, so its own server answers, always.
    let seen = names(lab.namespace("a"), &vip(80), 4);
    assert_eq!(spread(&seen), [("a".to_owned(), 4)]);
    assert_eq!(spread(&names(lab.namespace("b"), &vip(80), 4)).len(), 2);
    let outside = Connection::open_within(&lab.client.path, vip(80).parse().unwrap(), IMPATIENCE);
    assert!(outside.is_err());
}

#[test]
fn unconnected_datagrams_stick_and_come_back_from_the_virtual_address() {
    let lab = lab();
    for local in ["0.0.0.0:0", "[::]:0"] {
        let to = if local.starts_with('[') { format!("[::ffff:{VIP}]:53") } else { vip(53) };
        let mut seen = Vec::new();
        for _ in 0..4 {
            let socket = Datagrams::new(lab.namespace("a"), local);
            let (first, from) = socket.ask(&to).unwrap();
            assert_eq!(from.to_string(), to);
            assert_eq!(socket.ask(&to).unwrap().0.name, first.name);
            seen.push(first.name);
        }
        assert_eq!(spread(&seen), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    }
}

#[test]
fn one_datagram_socket_may_speak_with_a_virtual_address_and_a_task_at_once() {
    let lab = lab();
    let socket = Datagrams::new(lab.namespace("a"), "0.0.0.0:0");
    let direct = format!("{}:81", lab.tasks["b"].overlay_address());
    assert_eq!(socket.ask(&vip(53)).unwrap().1.to_string(), vip(53));
    assert_eq!(socket.ask(&direct).unwrap().1.to_string(), direct);
    assert_eq!(socket.ask(&vip(80)).unwrap().1.to_string(), vip(80));
}

#[test]
fn connected_datagrams() {
    let lab = lab();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let socket = Datagrams::new(lab.namespace("b"), "0.0.0.0:0");
        socket.connect(&vip(53));
        assert_eq!(socket.peer().to_string(), vip(53));
        let answer = socket.ask_connected().unwrap();
        assert_eq!(answer.peer.ip(), ip(&lab.tasks["b"].overlay_address()));
        seen.push(answer.name);
    }
    assert_eq!(spread(&seen), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
}

#[test]
fn large_datagrams_pass_in_fragments() {
    let lab = lab();
    for task in ["a", "b"] {
        let socket = Datagrams::new(lab.namespace(task), "0.0.0.0:0");
        for _ in 0..2 {
            socket.send_sized(&vip(53), 4000).unwrap();
        }
    }
}

#[test]
fn a_service_without_tasks_refuses() {
    let mut lab = lab();
    for task in lab.tasks.values_mut() {
        task.weight = 0;
    }
    lab.sync();
    let refused = ask(lab.namespace("a"), &vip(80)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn by_source_a_namespace_keeps_its_server() {
    let mut lab = lab();
    lab.add_task("c", 0);
    lab.scheduler = Scheduler::SourceHash;
    lab.sync();
    for task in ["a", "b", "c"] {
        let seen: BTreeSet<String> = names(lab.namespace(task), &vip(80), 5).into_iter().collect();
        assert_eq!(seen.len(), 1, "{task} was sent to {seen:?}");
    }
}

#[test]
fn the_same_over_ipv6() {
    let lab = lab();
    let to = format!("[{VIP6}]:81");
    for task in ["a", "b"] {
        let seen = names(lab.namespace(task), &to, 4);
        assert_eq!(spread(&seen), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
        let mut connection = Connection::open(lab.namespace(task), to.parse().unwrap()).unwrap();
        assert_eq!(connection.ask().unwrap().peer.ip(), ip(&lab.tasks[task].overlay_address6()));
        assert_eq!(connection.peer().to_string(), to);
        let socket = Datagrams::new(lab.namespace(task), "[::]:0");
        let (first, from) = socket.ask(&to).unwrap();
        assert_eq!(from.to_string(), to);
        assert_eq!(socket.ask(&to).unwrap().0.name, first.name);
        let connected = Datagrams::new(lab.namespace(task), "[::]:0");
        connected.connect(&to);
        connected.ask_connected().unwrap();
        assert_eq!(connected.peer().to_string(), to);
    }
}
