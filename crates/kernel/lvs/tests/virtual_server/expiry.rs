//! Exchanges of datagrams that were silent for too long; their age is written by hand, as nobody waits for two minutes.

use super::cases::version;
use super::foreign::{entries, write};
use super::upkeep::lab;
use crate::lab::{Lab, VIP};
use crate::talk::Datagrams;

/// Lets whatever host 1 remembers in a map look as if it had been seen last when the machine started.
fn age(lab: &Lab, name: &str) {
    let map = version(&lab.hosts[1].place).join("maps").join(name);
    let entries = entries(&map);
    assert_eq!(entries.len(), 1);
    for (key, mut value) in entries {
        value[..8].copy_from_slice(&1_u64.to_ne_bytes());
        write(&map, &key, &value);
    }
}

#[test]
fn a_silent_exchange_is_over_and_the_next_datagram_begins_another() {
    let mut lab = lab();
    let ways = [
        (lab.client.path.clone(), "192.168.50.11:8053".to_owned(), "entry_flows"),
        (lab.namespace("b").to_owned(), format!("{VIP}:53"), "datagram_choices"),
    ];
    for (namespace, to, map) in ways {
        let socket = Datagrams::new(&namespace, "0.0.0.0:0");
        let ask = || socket.ask(&to).unwrap().0.name;
        let first = ask();
        assert_eq!(ask(), first);
        age(&lab, map);
        let second = ask();
        assert_ne!(second, first, "by {to}");
        assert_eq!(ask(), second);
        // Forgotten by the next sync, and not told before.
        age(&lab, map);
        let known = |lab: &mut Lab| lab.hosts[1].engine.as_mut().unwrap().connections().unwrap();
        assert_eq!(known(&mut lab), []);
        lab.sync();
        assert_eq!(entries(&version(&lab.hosts[1].place).join("maps").join(map)), []);
        assert_eq!(ask(), first);
        assert_eq!(ask(), first);
        age(&lab, map);
    }
}
