//! The table of a task's sandbox: its own connections to virtual addresses, and its answers to clients of published
//! ports, which leave by the node that the client came through.

use super::balance::{By, Front, Part, port_key};
use super::expressions::{Family, Is, Meta, Rule, octets};
use super::kernel::digest;
use super::ruleset::{Content, Field, Hook, Key, Ruleset, Set, Sort, priority};
use crate::difference::Subject;
use shoal_model::lvs::{Mesh, MeshTask, Table, VirtualServiceKey, entry_mark};
use shoal_model::netns::NamespaceName;
use std::net::IpAddr;
use std::time::Duration;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
/// How long a client of a datagram server is remembered: longer than the kernel keeps an exchange of datagrams
/// (`nf_conntrack_udp_timeout_stream`, 120 s).
const CLIENT_LASTS: Duration = Duration::from_mins(3);

/// Virtual addresses of the services on the sandbox's networks.
fn vips(family: Family) -> String {
    format!("vip{}-addresses", family.digit())
}

/// Whether a set says what is refused unless it is translated.
pub(super) fn refuses(set: &str) -> bool {
    Family::BOTH.iter().any(|family| vips(*family) == set)
}

/// The sandbox's table.
pub(super) fn ruleset(name: &NamespaceName, table: &Table) -> Ruleset {
    let mut ruleset = Ruleset::default();
    add_services(&mut ruleset, name, table);
    if let Some(mesh) = &table.mesh
        && let Some(task) = mesh.tasks.values().find(|task| task.sandbox == *name)
    {
        add_answers(&mut ruleset, mesh, task);
    }
    ruleset
}

fn add_services(ruleset: &mut Ruleset, name: &NamespaceName, table: &Table) {
    let Some(networks) = table.sandboxes.get(name) else { return };
    let here = table.services.iter().filter_map(|(key, service)| match key {
        VirtualServiceKey::EastWest { network, vip } if networks.contains(network) => {
            Some((key, *vip, service))
        }
        _ => None,
    });
    let mut families = Vec::new();
    for (key, vip, service) in here {
        let front = Front::new(By::Address, Family::of(vip));
        if !families.contains(&front.family) {
            families.push(front.family);
            front.declare_sets(ruleset);
            ruleset.sets.insert(vips(front.family), Set::plain(&[Field::Address(front.family)]));
        }
        let subject = Subject::Service(key.clone());
        ruleset.add(&vips(front.family), Key::new().address(vip), Content::Nothing, subject);
        // All connections of a sandbox are one client's, whatever address they seem to come from.
        let begins = digest(format!("{vip}/{name}").as_bytes());
        if let Some(chain) = front.add_service(ruleset, key, service, (begins, true)) {
            front.lead(ruleset, key, chain);
        }
    }
    for family in families {
        add_east_west_rules(ruleset, family);
    }
}

fn add_east_west_rules(ruleset: &mut Ruleset, family: Family) {
    let to_vip = || Rule::new().family(family).destination(family, 0);
    let services = Front::new(By::Address, family).set(Part::Services);
    let balance = vec![to_vip().go_by(&services, 0)];
    ruleset.base_chain("balance", ("nat", Hook::Output, priority::DESTINATION), balance);
    // What was not translated has nobody behind it. Resets go to a virtual address themselves where it is the
    // sandbox's own.
    let untranslated =
        |protocol| to_vip().in_set(&vips(family), 0, Is::Equal).translated(false).protocol(protocol);
    let refuse =
        vec![untranslated(TCP).no_reset().reset(), untranslated(UDP).refuse(), untranslated(SCTP).refuse()];
    ruleset.base_chain("refuse", ("filter", Hook::Output, priority::FILTER), refuse);
    // A task has its own service's virtual address on `lo`, and connects from it to itself.
    let from_vip = || Rule::new().family(family).source(family, 0).in_set(&vips(family), 0, Is::Equal);
    let hairpin =
        from_vip().link(Meta::LeavesBy, Is::Equal, "lo").destination(family, 0).translate_source(family, 0);
    let mut source = Front::new(By::Address, family).account(ruleset);
    source.extend([hairpin, from_vip().masquerade()]);
    ruleset.base_chain("own-source", ("nat", Hook::Postrouting, priority::SOURCE), source);
}

fn add_answers(ruleset: &mut Ruleset, mesh: &Mesh, task: &MeshTask) {
    ruleset.sets.insert("entries".to_owned(), Set::map(&[Field::Ethernet], &[Field::Number]));
    ruleset.sets.insert("entry-zones".to_owned(), Set::map(&[Field::Ethernet], &[Field::Zone]));
    for (mac, addresses) in &mesh.entries {
        let Some(mark) = entry_mark(addresses) else { continue };
        // A set with one field has its bare bytes as key and data.
        let key = || Key(mac.0.to_vec());
        ruleset.add("entries", key(), Key::new().number(mark).content(), Subject::Mesh);
        let [low, high, ..] = mark.to_le_bytes();
        // Zone 0 is that of all other connections.
        let zone = u16::from_le_bytes([low, high]).max(1);
        ruleset.add("entry-zones", key(), Content::Bytes(zone.to_ne_bytes().to_vec()), Subject::Mesh);
    }
    let addresses = [Some(task.address), task.address6.map(IpAddr::V6)];
    for address in addresses.into_iter().flatten() {
        add_entrance(ruleset, task, address);
        add_answers_of(ruleset, address);
    }
    let mark = of_a_client(Rule::new()).set_mark(0);
    ruleset.base_chain("answer-way", ("route", Hook::Output, priority::MANGLE), vec![mark]);
    // Empty: that it is there makes the kernel give another port to a client's connection that comes by two nodes
    // from one port.
    ruleset.base_chain("tell-apart", ("nat", Hook::Input, priority::SOURCE), Vec::new());
}

/// Goes on only with connections of clients of published ports, whose mark is then in the first register.
fn of_a_client(rule: Rule) -> Rule {
    rule.connection_mark(0).compare(0, Is::Different, &[0; 4])
}

/// What comes from a node's ingress endpoint, as that node's engine sends it: to the task, or (from the ebpf engine)
/// still to the node and its published port.
fn add_entrance(ruleset: &mut Ruleset, task: &MeshTask, own: IpAddr) {
    let family = Family::of(own);
    let entered = || Rule::new().family(family).ethernet_source(0);
    let zone = entered().map("entry-zones", 0, 0).set_zone(0);
    ruleset.base_chain("entry-zone", ("filter", Hook::Prerouting, priority::BEFORE_TRACKING), vec![zone]);
    let mark = entered().map("entries", 0, 0).set_connection_mark(0);
    ruleset.base_chain("entry-mark", ("filter", Hook::Prerouting, priority::MANGLE), vec![mark]);
    let published = format!("published{}", family.digit());
    let data = [Field::Address(family), Field::Port];
    ruleset.sets.insert(published.clone(), Set::map(&[Field::Protocol, Field::Port], &data));
    for port in &task.ports {
        let target = Key::new().address(own).port(port.target).content();
        let key = port_key(port.protocol, port.published);
        ruleset.add(&published, key, target, Subject::MeshTask(task.port_link.clone()));
    }
    let at = family.words() + 1;
    let to_node = of_a_client(Rule::new().family(family))
        .destination(family, 0)
        .compare(0, Is::Different, &octets(own))
        .meta(Meta::Protocol, at)
        .destination_port(at + 1)
        .map(&published, at, 0)
        .translate(family, 0, true);
    ruleset.base_chain("published", ("nat", Hook::Prerouting, priority::DESTINATION), vec![to_node]);
}

/// A datagram server on all addresses answers from that of the way out; the client was told another.
fn add_answers_of(ruleset: &mut Ruleset, own: IpAddr) {
    let family = Family::of(own);
    let clients = format!("clients{}", family.digit());
    let key = [Field::Address(family), Field::Port, Field::Port];
    ruleset.sets.insert(clients.clone(), Set::plain(&key).sorted(Sort::Dynamic));
    let port = family.words();
    let asks = of_a_client(Rule::new().family(family).protocol(UDP))
        .source(family, 0)
        .source_port(port)
        .destination_port(port + 1)
        .note(&clients, 0, None, CLIENT_LASTS);
    ruleset.base_chain("clients", ("filter", Hook::Input, priority::FILTER), vec![asks]);
    let answer = Rule::new()
        .family(family)
        .protocol(UDP)
        .destination(family, 0)
        .destination_port(port)
        .source_port(port + 1)
        .in_set(&clients, 0, Is::Equal)
        .immediate(0, &octets(own))
        .set_source(family, 0);
    ruleset.base_chain("answer-source", ("filter", Hook::Output, priority::BEFORE_TRACKING), vec![answer]);
}
