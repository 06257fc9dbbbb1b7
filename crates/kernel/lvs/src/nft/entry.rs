//! The table of the host's namespace: published ports, for clients from outside and for the node's own processes and
//! containers. The client's address is kept, save where it means something else on every node.

use super::balance::{By, Front, Part, port_key, service_key};
use super::expressions::{Family, Is, Meta, Rule, octets};
use super::ruleset::{Content, Element, Field, Hook, Key, Ruleset, Set, Sort, priority};
use crate::difference::Subject;
use ipnet::IpNet;
use shoal_model::lvs::{Mesh, RealServer, Table, VirtualService, VirtualServiceKey};
use std::net::IpAddr;

/// Families of published ports: the host has no way to the ingress network's IPv6 subnet.
const SERVED: [Family; 1] = [Family::V4];

/// Set of the node's own addresses.
fn own(family: Family) -> String {
    format!("node{}-addresses", family.digit())
}

/// Map of ports that are published on some addresses only.
fn bound(family: Family) -> String {
    format!("bound{}-services", family.digit())
}

/// Set of the real servers' addresses.
fn tasks(family: Family) -> String {
    format!("task{}-addresses", family.digit())
}

/// Set of ports with the networks whose clients are let in.
fn allowed(family: Family) -> String {
    format!("allowed{}", family.digit())
}

/// Ports that not everyone may use, and those of them that this node itself may.
const GUARDED: &str = "guarded";
const OWN_ALLOWED: &str = "own-allowed";

/// Chains whose counters are packets of clients that were not allowed.
pub(super) const DROPPING: [&str; 2] = ["allow", "allow-own"];

/// The host's table.
pub(super) fn ruleset(table: &Table, bridge: &str) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let Some(mesh) = &table.mesh else { return ruleset };
    let port = [Field::Protocol, Field::Port];
    ruleset.sets.insert(GUARDED.to_owned(), Set::plain(&port));
    ruleset.sets.insert(OWN_ALLOWED.to_owned(), Set::plain(&port));
    let outsider = Rule::new().family(Family::V4).asks_loopback().link(Meta::EnteredBy, Is::Different, "lo");
    let guard = vec![outsider.drop_it()];
    ruleset.base_chain("guard", ("filter", Hook::Prerouting, priority::BEFORE_TRACKING), guard);
    for family in SERVED {
        declare_sets(&mut ruleset, family);
        for address in mesh.node_addresses.iter().filter(|a| Family::of(**a) == family) {
            let subject = Subject::NodeAddress(*address);
            ruleset.add(&own(family), Key::new().address(*address), Content::Nothing, subject);
        }
    }
    for (key, service) in &table.services {
        if let VirtualServiceKey::Ingress { .. } = key {
            add_service(&mut ruleset, mesh, key, service);
        }
    }
    for family in SERVED {
        add_rules(&mut ruleset, mesh, family, bridge);
    }
    ruleset
}

fn declare_sets(ruleset: &mut Ruleset, family: Family) {
    Front::new(By::Port, family).declare_sets(ruleset);
    let address = Field::Address(family);
    let sets = [
        (own(family), Set::plain(&[address])),
        (tasks(family), Set::plain(&[address])),
        (bound(family), Set::verdicts(&[address, Field::Protocol, Field::Port])),
        (allowed(family), Set::plain(&[Field::Protocol, Field::Port, address]).sorted(Sort::Ranges)),
    ];
    ruleset.sets.extend(sets);
}

fn add_service(ruleset: &mut Ruleset, mesh: &Mesh, key: &VirtualServiceKey, service: &VirtualService) {
    let subject = || Subject::Service(key.clone());
    for family in SERVED {
        let front = Front::new(By::Port, family);
        for address in service.real_servers.iter().flat_map(addresses).filter(|a| Family::of(*a) == family) {
            ruleset.add(&tasks(family), Key::new().address(address), Content::Nothing, subject());
        }
        let Some(chain) = front.add_service(ruleset, key, service, (0, false)) else { continue };
        match &service.access.addresses {
            None => front.lead(ruleset, key, chain),
            Some(addresses) => {
                for address in addresses.iter().filter(|a| Family::of(**a) == family) {
                    let at = Key::new().address(*address).bytes(&service_key(key).0);
                    ruleset.add(&bound(family), at, Content::Goto(chain.clone()), subject());
                }
            }
        }
    }
    add_access(ruleset, mesh, key, service);
}

fn addresses(server: &RealServer) -> impl Iterator<Item = IpAddr> {
    [Some(server.address), server.address6.map(IpAddr::V6)].into_iter().flatten()
}

fn add_access(ruleset: &mut Ruleset, mesh: &Mesh, key: &VirtualServiceKey, service: &VirtualService) {
    let VirtualServiceKey::Ingress { protocol, port } = key else { return };
    let allow = &service.access.allow;
    if allow.is_empty() {
        return;
    }
    let port = || port_key(*protocol, *port);
    let subject = || Subject::Service(key.clone());
    ruleset.add(GUARDED, port(), Content::Nothing, subject());
    if allow.iter().any(|net| net.contains(&mesh.own_address)) {
        ruleset.add(OWN_ALLOWED, port(), Content::Nothing, subject());
    }
    // Ranges of one set must not overlap.
    let served = allow.iter().copied().filter(|net| SERVED.contains(&Family::of(net.addr())));
    for net in IpNet::aggregate(&served.collect()) {
        let element = Element {
            content: Content::Nothing,
            end: Some(port().address(net.broadcast()).0),
            subject: subject(),
        };
        let first = port().address(net.network()).0;
        ruleset.elements.insert((allowed(Family::of(net.addr())), first), element);
    }
}

fn add_rules(ruleset: &mut Ruleset, mesh: &Mesh, family: Family, bridge: &str) {
    let words = family.words();
    let front = Front::new(By::Port, family);
    let to_node = || Rule::new().family(family).destination(family, 0).in_set(&own(family), 0, Is::Equal);
    let to_loopback = || Rule::new().family(Family::V4).asks_loopback();
    let by_port =
        |rule: Rule| rule.meta(Meta::Protocol, 0).destination_port(1).go_by(&front.set(Part::Services), 0);
    let by_address = Rule::new()
        .family(family)
        .destination(family, 0)
        .meta(Meta::Protocol, words)
        .destination_port(words + 1)
        .go_by(&bound(family), 0);
    let guarded = |rule: Rule| rule.meta(Meta::Protocol, 0).destination_port(1).in_set(GUARDED, 0, Is::Equal);
    let stranger = guarded(to_node().link(Meta::EnteredBy, Is::Different, bridge)).source(family, 2).in_set(
        &allowed(family),
        0,
        Is::Different,
    );
    let own_stranger = |rule: Rule| guarded(rule).in_set(OWN_ALLOWED, 0, Is::Different);
    // Addresses on the bridge are the same on every node; its containers are the node's own.
    let contained = own_stranger(to_node().link(Meta::EnteredBy, Is::Equal, bridge));
    let allow = vec![stranger.count().drop_it(), contained.count().drop_it()];
    let allow_own = own_stranger(to_node()).count().drop_it();
    let mut enter_own = vec![by_port(to_node()), by_address.clone()];
    let mut allow_own = vec![allow_own];
    if family == Family::V4 {
        enter_own.push(by_port(to_loopback()));
        allow_own.push(own_stranger(to_loopback()).count().drop_it());
    }
    ruleset.base_chain("allow", ("filter", Hook::Prerouting, priority::MANGLE), allow);
    ruleset.base_chain("allow-own", ("filter", Hook::Output, priority::MANGLE), allow_own);
    let enter = vec![by_port(to_node()), by_address];
    ruleset.base_chain("enter", ("nat", Hook::Prerouting, priority::DESTINATION), enter);
    ruleset.base_chain("enter-own", ("nat", Hook::Output, priority::DESTINATION), enter_own);
    let mut source = front.account(ruleset);
    source.extend(source_rules(mesh, family, bridge));
    ruleset.base_chain("own-source", ("nat", Hook::Postrouting, priority::BEFORE_SOURCE), source);
}

/// Sources that mean something else on every node become the node's own address.
fn source_rules(mesh: &Mesh, family: Family, bridge: &str) -> Vec<Rule> {
    if Family::of(mesh.own_address) != family {
        return Vec::new();
    }
    let to_task = || {
        Rule::new().family(family).translated(true).destination(family, 0).in_set(
            &tasks(family),
            0,
            Is::Equal,
        )
    };
    let as_node = |rule: Rule| rule.immediate(0, &octets(mesh.own_address)).translate_source(family, 0);
    let contained = as_node(to_task().link(Meta::EnteredBy, Is::Equal, bridge));
    match family {
        Family::V4 => vec![as_node(to_task().comes_from_loopback()), contained],
        Family::V6 => vec![contained],
    }
}
