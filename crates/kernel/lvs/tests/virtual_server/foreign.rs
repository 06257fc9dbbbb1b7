//! Foreign hands on what the engine keeps in the kernel: a check tells what they did, a sync mends it.

use super::cases::{bpftool, pin, pins, repaired, version, works};
use super::upkeep::{connections_to, lab};
use super::{EbpfEngine, engine};
use crate::lab::{Lab, Port};
use crate::talk::ip;
use shoal_lvs::{Difference, Found, Subject, TcAttachment};
use shoal_model::lvs::{Access, VirtualServiceKey};
use shoal_model::spec::Protocol;
use std::path::{Path, PathBuf};
use std::{fs, iter};

fn check(lab: &mut Lab) -> Vec<Difference> {
    let table = lab.table(0);
    lab.hosts[0].engine.as_mut().unwrap().check(&table).unwrap()
}

/// What host 0 finds, by looking and by mending; afterwards all is as it was.
fn mended(lab: &mut Lab) -> Vec<Difference> {
    let seen = check(lab);
    assert_ne!(seen, []);
    assert_eq!(check(lab), seen);
    let found = lab.sync().remove(0);
    assert_eq!(found, seen);
    repaired(&found);
    assert_eq!(check(lab), []);
    assert_eq!(lab.sync(), [[], []]);
    works(lab);
    found
}

fn map(lab: &Lab, name: &str) -> PathBuf {
    version(&lab.hosts[0].place).join("maps").join(name)
}

fn words(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(ToString::to_string).collect()
}

/// Writes into a map, as anybody with the right to could.
pub(super) fn write(map: &Path, key: &[u8], value: &[u8]) {
    let (key, value) = (words(key), words(value));
    let mut arguments = vec!["map", "update", "pinned", pin(map), "key"];
    arguments.extend(key.iter().map(String::as_str));
    arguments.push("value");
    arguments.extend(value.iter().map(String::as_str));
    bpftool(&arguments);
}

/// All entries of a map, as bytes.
pub(super) fn entries(map: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let dump = bpftool(&["-j", "map", "dump", "pinned", pin(map)]);
    let bytes = |text: &str, field: &str| {
        let list = text.split_once(&format!("\"{field}\":[")).unwrap().1.split_once(']').unwrap().0;
        let byte =
            |text: &str| u8::from_str_radix(text.trim_matches('"').trim_start_matches("0x"), 16).unwrap();
        list.split(',').map(byte).collect::<Vec<u8>>()
    };
    dump.split("{\"key\":[")
        .skip(1)
        .map(|entry| {
            let entry = format!("\"key\":[{entry}");
            (bytes(&entry, "key"), bytes(&entry, "value"))
        })
        .collect()
}

fn first_entry(map: &Path) -> (Vec<u8>, Vec<u8>) {
    entries(map).swap_remove(0)
}

#[test]
fn entries_that_somebody_adds_are_taken_away() {
    let mut lab = lab();
    for name in [
        "vip_services",
        "port_services",
        "servers",
        "slots",
        "sandboxes",
        "node_addresses",
        "mesh_tasks",
        "task_ports",
    ] {
        let map = map(&lab, name);
        let (key, value) = first_entry(&map);
        let stranger: Vec<u8> = key.iter().map(|byte| byte ^ 0x55).collect();
        write(&map, &stranger, &value);
        let found = mended(&mut lab);
        assert!(found.iter().any(|difference| difference.found == Found::Unexpected), "{name}: {found:?}");
    }
}

#[test]
fn values_that_somebody_changes_are_restored() {
    let mut lab = lab();
    for name in
        ["vip_services", "port_services", "servers", "sandboxes", "mesh_tasks", "task_ports", "mesh_settings"]
    {
        let map = map(&lab, name);
        let (key, mut value) = first_entry(&map);
        // Not a service's own number, by which everything else of it is found.
        let at = if name.ends_with("services") { 8 } else { 0 };
        value[at] ^= 0x05;
        write(&map, &key, &value);
        assert_eq!(mended(&mut lab).len(), 1, "{name}");
    }
}

#[test]
fn a_service_that_somebody_renumbers_is_built_anew() {
    let mut lab = lab();
    let map = map(&lab, "port_services");
    let (key, mut value) = first_entry(&map);
    value[0] = 200;
    write(&map, &key, &value);
    assert_ne!(check(&mut lab), []);
    repaired(&lab.sync()[0]);
    assert_eq!(lab.sync(), [[], []]);
    works(&lab);
}

#[test]
fn access_that_somebody_widens_or_narrows_is_as_declared_again() {
    let mut lab = lab();
    lab.access = Access {
        allow: ["192.168.50.0/24".parse().unwrap()].into(),
        addresses: Some(lab.hosts.iter().map(|host| ip(&host.address)).collect()),
    };
    lab.sync();
    for name in ["allowed", "published_on"] {
        let map = map(&lab, name);
        let (mut key, value) = first_entry(&map);
        *key.last_mut().unwrap() ^= 0x40;
        if name == "allowed" {
            // One bit more, so that it is another network.
            key[0] += 1;
        }
        write(&map, &key, &value);
        let found = mended(&mut lab);
        let [only] = &found[..] else { panic!("{found:?}") };
        let service = |port, protocol| Subject::Service(VirtualServiceKey::Ingress { protocol, port });
        let services = [service(8080, Protocol::Tcp), service(8053, Protocol::Udp)];
        assert!(services.contains(&only.subject), "{only}");
    }
}

#[test]
fn lost_pins_of_maps_are_made_again_for_the_next_daemon() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "a");
    fs::remove_file(map(&lab, "entry_flows")).unwrap();
    fs::remove_file(map(&lab, "servers")).unwrap();
    let found = mended(&mut lab);
    let pin = |name: &str| Subject::Map(name.to_owned());
    assert_eq!(repaired(&found), [&pin("servers"), &pin("entry_flows")]);
    lab.reopen(0);
    assert_eq!(lab.sync(), [[], []]);
    for connection in &mut kept {
        assert_eq!(connection.ask().unwrap().name, "a");
    }
}

#[test]
fn an_unmounted_directory_of_pins_is_mounted_and_filled_again() {
    let mut lab = lab();
    let mut kept = connections_to(&lab, "a");
    let root = lab.hosts[0].place.pin_root();
    nix::mount::umount2(&root, nix::mount::MntFlags::MNT_DETACH).unwrap();
    let found = mended(&mut lab);
    let attached =
        found.iter().filter(|d| matches!(d.subject, Subject::Program { .. } | Subject::SocketProgram(_)));
    assert_eq!(attached.count(), pins(&lab.hosts[0].place, "attached").len());
    for connection in &mut kept {
        assert_eq!(connection.ask().unwrap().name, "a");
    }
}

#[test]
fn queueing_disciplines_that_somebody_removes_come_back_with_their_filters() {
    let mut lab = Lab::new(Box::new(EbpfEngine(TcAttachment::Clsact)), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80)];
    lab.sync();
    lab.hosts[0].netns.output(&["tc", "qdisc", "del", "dev", "eth0", "clsact"]);
    let port_link = lab.tasks["a"].port_link();
    lab.hosts[0].ingress.output(&["tc", "qdisc", "del", "dev", &port_link, "clsact"]);
    let found = mended(&mut lab);
    assert_eq!(found.len(), 3);
    // A second filter of the same program is one too many.
    let pinned = pins(&lab.hosts[0].place, "attached");
    let entry_in = pinned.iter().find(|path| pin(path).contains("@entry_in@")).unwrap();
    let attach: Vec<&str> =
        "tc filter add dev eth0 ingress bpf direct-action object-pinned".split(' ').collect();
    let attach: Vec<&str> = attach.into_iter().chain(iter::once(pin(entry_in))).collect();
    lab.hosts[0].netns.output(&attach);
    assert_eq!(mended(&mut lab).len(), 1);
}

#[test]
fn nothing_is_found_where_nobody_was() {
    let mut lab = Lab::new(engine(), 2);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80)];
    lab.sync();
    for _ in 0..3 {
        assert_eq!(check(&mut lab), []);
    }
}
