//! A daemon of another version takes over: the layout of the maps, and with it their directory, has changed.

use super::cases::{bpftool, pin, pins, version};
use super::foreign::{entries, write};
use super::upkeep::{connections_to, keep_asking, lab, ways};
use crate::lab::{Lab, Place, VIP};
use crate::older_map::pin_old_servers;
use crate::talk::{Datagrams, names, spread};
use shoal_lvs::{Difference, Found, Subject};
use shoal_model::lvs::VirtualServiceKey;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Ends the host's engine, and lets what it left look like that of another version; where that is.
fn age(lab: &mut Lab, host: usize) -> PathBuf {
    lab.hosts[host].engine = None;
    let now = version(&lab.hosts[host].place);
    let old = now.with_file_name("v0");
    fs::rename(&now, &old).unwrap();
    old
}

/// Numbers of everything attached.
fn attached(place: &Place) -> BTreeSet<u64> {
    let number = |path: PathBuf| {
        let shown = bpftool(&["-j", "link", "show", "pinned", pin(&path)]);
        shown.split_once("\"id\":").unwrap().1.split(',').next().unwrap().parse().unwrap()
    };
    pins(place, "attached").into_iter().map(number).collect()
}

#[test]
fn connections_survive_and_nobody_notices() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "a");
    kept.extend(connections_to(&lab, "b"));
    let peers: Vec<_> = kept.iter().map(crate::talk::Connection::peer).collect();
    let datagrams = Datagrams::new(lab.namespace("a"), "0.0.0.0:0");
    let name = datagrams.ask(&format!("{VIP}:53")).unwrap().0.name;
    let links = [0, 1].map(|host| attached(&lab.hosts[host].place));
    let ways = ways(&lab);
    let stop = AtomicBool::new(false);
    let found = thread::scope(|scope| {
        let askers: Vec<_> =
            ways.iter().map(|(path, to)| scope.spawn(|| keep_asking(path, *to, &stop))).collect();
        for host in 0..2 {
            age(&mut lab, host);
            lab.reopen(host);
        }
        let found = lab.sync();
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            let (asked, failures) = asker.join().unwrap();
            assert!(failures.is_empty(), "{failures:?} of {asked}");
        }
        found
    });
    assert_eq!(found, [[], []]);
    for (connection, peer) in kept.iter_mut().zip(peers) {
        connection.ask().unwrap();
        assert_eq!(connection.peer(), peer);
    }
    assert_eq!(datagrams.ask(&format!("{VIP}:53")).unwrap().0.name, name);
    for (host, links) in links.iter().enumerate() {
        let place = &lab.hosts[host].place;
        assert!(!version(place).ends_with("v0"), "nothing else is left");
        assert_eq!(attached(place), *links, "links were made anew");
    }
    for host in lab.sync() {
        assert_eq!(host, []);
    }
}

/// Puts a map of another layout in the place of an old one.
fn lay_out_otherwise(old: &Path, name: &str) {
    let path = old.join("maps").join(name);
    fs::remove_file(&path).unwrap();
    bpftool(&[
        "map",
        "create",
        pin(&path),
        "type",
        "hash",
        "key",
        "12",
        "value",
        "12",
        "entries",
        "8",
        "name",
        "old",
    ]);
}

fn left_behind(found: &[Difference]) -> usize {
    found.iter().filter(|difference| difference.unrepaired.is_some()).count()
}

#[test]
fn what_changed_is_left_behind_and_the_rest_goes_on() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "a");
    let old = age(&mut lab, 1);
    lay_out_otherwise(&old, "task_flows");
    lab.reopen(1);
    let found = lab.sync().remove(1);
    assert_eq!(left_behind(&found), 1, "{found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
    for connection in &mut kept {
        connection.ask().unwrap();
    }
    assert_eq!(lab.sync(), [[], []]);
    let old = age(&mut lab, 1);
    lay_out_otherwise(&old, "servers");
    lab.reopen(1);
    // Numbers of real servers mean nothing now.
    assert!(left_behind(&lab.sync()[1]) > 1);
    assert_eq!(lab.sync(), [[], []]);
    for (namespace, to) in ways(&lab) {
        assert_eq!(spread(&names(&namespace, &to.to_string(), 4)).len(), 2, "by {to}");
    }
    // Those that were balanced at the socket need no map.
    for connection in &mut kept[1..] {
        connection.ask().unwrap();
    }
}

#[test]
fn an_interrupted_takeover_is_finished_by_the_next_daemon() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "b");
    age(&mut lab, 1);
    for _ in 0..3 {
        lab.reopen(1);
    }
    for connection in &mut kept {
        assert_eq!(connection.ask().unwrap().name, "b");
    }
    assert_eq!(lab.sync(), [[], []]);
    for connection in &mut kept {
        assert_eq!(connection.ask().unwrap().name, "b");
    }
}

/// Lays the old map of real servers out as before they could have a second address.
fn without_second_address(old: &Path) {
    let servers = old.join("maps/servers");
    let entries = entries(&servers);
    assert_eq!(entries[0].1.len(), 76, "say here what else the layout has got since");
    fs::remove_file(&servers).unwrap();
    pin_old_servers(&servers);
    for (key, mut value) in entries {
        value.drain(16..32);
        write(&servers, &key, &value);
    }
}

#[test]
fn where_fields_were_added_connections_survive_too() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "a");
    kept.extend(connections_to(&lab, "b"));
    for host in 0..2 {
        let old = age(&mut lab, host);
        without_second_address(&old);
        lab.reopen(host);
    }
    // Served by the old programs, and then by the new ones.
    for connection in &mut kept {
        connection.ask().unwrap();
    }
    for difference in lab.sync().iter().flatten() {
        // The second address, which only those of the mesh have.
        assert_eq!((difference.found, &difference.unrepaired), (Found::Different, &None));
        assert!(matches!(difference.subject, Subject::RealServer(VirtualServiceKey::Ingress { .. }, _)));
    }
    for connection in &mut kept {
        connection.ask().unwrap();
    }
    assert_eq!(lab.sync(), [[], []]);
    for (namespace, to) in ways(&lab) {
        assert_eq!(spread(&names(&namespace, &to.to_string(), 4)).len(), 2, "by {to}");
    }
}
