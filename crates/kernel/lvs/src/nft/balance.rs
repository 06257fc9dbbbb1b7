//! Virtual services as flat maps. A service is one element that leads to the chain of its ring's size; a slot of the
//! ring is one element of the map that the chain looks into; a real server is one element of the set that counts. The
//! number of chains is the number of different ring sizes, whatever the number of services.
//!
//! Registers of a choice, in this order and without gaps, so that each lookup finds its key whole: the real server's
//! address (and port), the service's key, and then the slot or the client's address.

use super::expressions::{Family, Is, Meta, Rule};
use super::ruleset::{Chain, Content, Field, Key, Ruleset, Set, Sort};
use crate::difference::Subject;
use shoal_model::lvs::{RealServer, VirtualService, VirtualServiceKey};
use shoal_model::spec::Protocol;
use std::net::IpAddr;
use std::time::Duration;

/// A sort of virtual service in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) family: Family,
    pub(super) by: By,
}

/// What a service is addressed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A virtual address, every port of it.
    Address,
    /// A protocol and a published port; real servers have a port of their own.
    Port,
}

/// How a ring is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    hashed: bool,
    slots: u32,
    sticky: bool,
}

/// What sets a front has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// From a service to the chain of its choice.
    Services,
    /// From a service and a slot to a real server.
    Slots,
    /// Real servers, with the number of connections given to each.
    Servers,
    /// From a service and a client to the real server that it last had.
    Affinity,
}

impl Front {
    pub(super) const fn new(by: By, family: Family) -> Self {
        Self { family, by }
    }

    fn all() -> impl Iterator<Item = Self> {
        [By::Address, By::Port].into_iter().flat_map(|by| Family::BOTH.map(|family| Self::new(by, family)))
    }

    fn letter(self) -> &'static str {
        match self.by {
            By::Address => "vip",
            By::Port => "port",
        }
    }

    pub(super) fn set(self, part: Part) -> String {
        let part = match part {
            Part::Services => "services",
            Part::Slots => "slots",
            Part::Servers => "servers",
            Part::Affinity => "affinity",
        };
        format!("{}{}-{part}", self.letter(), self.family.digit())
    }

    /// Set of the services whose clients keep their real server for so many seconds.
    fn sticky(self, seconds: u32) -> String {
        format!("{}{seconds}s", self.sticky_prefix())
    }

    fn sticky_prefix(self) -> String {
        format!("{}{}-sticky-", self.letter(), self.family.digit())
    }

    fn key_fields(self) -> Vec<Field> {
        match self.by {
            By::Address => vec![Field::Address(self.family)],
            By::Port => vec![Field::Protocol, Field::Port],
        }
    }

    fn server_fields(self) -> Vec<Field> {
        match self.by {
            By::Address => vec![Field::Address(self.family)],
            By::Port => vec![Field::Address(self.family), Field::Port],
        }
    }

    /// First register of the service's key.
    fn key_at(self) -> u32 {
        self.family.words() + u32::from(self.by == By::Port)
    }

    /// First register after the service's key.
    fn after_key(self) -> u32 {
        let key = if self.by == By::Port { 2 } else { self.family.words() };
        self.key_at() + key
    }

    pub(super) fn declare_sets(self, ruleset: &mut Ruleset) {
        let (key, server) = (self.key_fields(), self.server_fields());
        let both = |a: &[Field], b: &[Field]| [a, b].concat();
        let client = [Field::Address(self.family)];
        let sets = [
            (Part::Services, Set::verdicts(&key)),
            (Part::Slots, Set::map(&both(&key, &[Field::Number]), &server)),
            (Part::Servers, Set::plain(&both(&server, &key)).sorted(Sort::Counting)),
            (Part::Affinity, Set::map(&both(&key, &client), &server).sorted(Sort::Dynamic)),
        ];
        for (part, set) in sets {
            ruleset.sets.insert(self.set(part), set);
        }
    }

    fn load_key(self, rule: Rule) -> Rule {
        match self.by {
            By::Address => rule.destination(self.family, self.key_at()),
            By::Port => rule.meta(Meta::Protocol, self.key_at()).destination_port(self.key_at() + 1),
        }
    }

    fn server_key(self, server: &RealServer, address: IpAddr) -> Key {
        match self.by {
            By::Address => Key::new().address(address),
            By::Port => Key::new().address(address).port(server.port),
        }
    }

    /// The real server's address in this family.
    fn address_of(self, server: &RealServer) -> Option<IpAddr> {
        let second = server.address6.map(IpAddr::V6);
        [Some(server.address), second].into_iter().flatten().find(|a| Family::of(*a) == self.family)
    }

    /// Adds a service's elements and makes sure of its chain. The ring begins at slot `begins`, lest every namespace's first
    /// connection goes to the same real server; of a namespace whose connections are all `one_client`'s, only that slot
    /// matters where clients are hashed. Without anyone in the ring the service is not there, and its clients are refused.
    pub(super) fn add_service(
        self,
        ruleset: &mut Ruleset,
        key: &VirtualServiceKey,
        service: &VirtualService,
        (begins, one_client): (u64, bool),
    ) -> Option<String> {
        let key_bytes = service_key(key);
        for server in &service.real_servers {
            let Some(address) = self.address_of(server) else { continue };
            let subject = Subject::RealServer(key.clone(), server.task.clone());
            let element = self.server_key(server, address).bytes(&key_bytes.0);
            ruleset.add(&self.set(Part::Servers), element, Content::Nothing, subject);
        }
        let in_ring = service.ring.iter().filter_map(|index| service.real_servers.get(usize::from(*index)));
        let mut ring: Vec<Key> =
            in_ring.filter_map(|server| Some(self.server_key(server, self.address_of(server)?))).collect();
        if !ring.is_empty() {
            let length = u64::try_from(ring.len()).unwrap_or(u64::MAX);
            ring.rotate_left(usize::try_from(begins % length).unwrap_or(0));
        }
        if service.scheduler.is_hashed() && one_client {
            ring.truncate(1);
        }
        let slots = u32::try_from(ring.len()).ok().filter(|slots| *slots > 0)?;
        for (slot, server) in (0..).zip(ring) {
            let at = Key::new().bytes(&key_bytes.0).number(slot);
            ruleset.add(&self.set(Part::Slots), at, server.content(), Subject::Service(key.clone()));
        }
        let hashed = service.scheduler.is_hashed() && !one_client;
        if let Some(seconds) = service.affinity {
            let sticky = self.sticky(seconds);
            ruleset.sets.entry(sticky.clone()).or_insert_with(|| Set::plain(&self.key_fields()));
            ruleset.add(&sticky, key_bytes, Content::Nothing, Subject::Service(key.clone()));
        }
        let choice = Choice { hashed, slots, sticky: service.affinity.is_some() };
        Some(self.chain(ruleset, choice))
    }

    /// The service's entry point.
    pub(super) fn lead(self, ruleset: &mut Ruleset, key: &VirtualServiceKey, chain: String) {
        let subject = Subject::Service(key.clone());
        ruleset.add(&self.set(Part::Services), service_key(key), Content::Goto(chain), subject);
    }

    /// The chain that chooses so, by name.
    fn chain(self, ruleset: &mut Ruleset, choice: Choice) -> String {
        let how = if choice.hashed { "hash" } else { "walk" };
        let again = if choice.sticky { "-sticky" } else { "" };
        let name = format!("{}{}-{how}-{}{again}", self.letter(), self.family.digit(), choice.slots);
        if !ruleset.chains.contains_key(&name) {
            let known = choice.sticky.then(|| self.known_client());
            let rules = known.into_iter().chain([self.any_client(choice)]).collect();
            ruleset.chains.insert(name.clone(), Chain { base: None, rules });
        }
        name
    }

    /// What is done with every new connection, once: where its source is translated, after its destination was.
    pub(super) fn account(self, ruleset: &Ruleset) -> Vec<Rule> {
        let count = self.given().in_set(&self.set(Part::Servers), 0, Is::Equal);
        let prefix = self.sticky_prefix();
        let seconds = |name: &String| name.strip_prefix(&prefix)?.strip_suffix('s')?.parse().ok();
        let remember = ruleset.sets.keys().filter_map(seconds).map(|seconds| self.remember_client(seconds));
        std::iter::once(count).chain(remember).collect()
    }

    /// The real server that a connection was given and the service that it asked for, in their registers.
    fn given(self) -> Rule {
        let (family, at) = (self.family, self.key_at());
        let rule = Rule::new().family(family).translated(true).destination(family, 0);
        match self.by {
            By::Address => rule.asked_address(family, at),
            By::Port => rule.destination_port(at - 1).meta(Meta::Protocol, at).asked_port(at + 1),
        }
    }

    fn any_client(self, choice: Choice) -> Rule {
        let slot = self.after_key();
        let rule = self.load_key(Rule::new());
        let rule = if choice.hashed {
            let length = 4 * self.family.words();
            rule.source(self.family, slot).hash(slot, length, choice.slots, slot)
        } else {
            rule.next_of(choice.slots, slot)
        };
        rule.map(&self.set(Part::Slots), self.key_at(), 0).translate(self.family, 0, self.by == By::Port)
    }

    /// A client that comes back in time gets the real server that it had.
    fn known_client(self) -> Rule {
        self.load_key(Rule::new())
            .source(self.family, self.after_key())
            .map(&self.set(Part::Affinity), self.key_at(), 0)
            .translate(self.family, 0, self.by == By::Port)
    }

    /// Notes which real server a client was given, for the services whose clients keep theirs for so long.
    fn remember_client(self, seconds: u32) -> Rule {
        let at = self.key_at();
        let rule = self.given().in_set(&self.sticky(seconds), at, Is::Equal);
        let lasts = Duration::from_secs(u64::from(seconds));
        rule.source(self.family, self.after_key()).note(&self.set(Part::Affinity), at, Some(0), lasts)
    }
}

/// The bytes that a service is addressed by.
pub(super) fn service_key(key: &VirtualServiceKey) -> Key {
    match key {
        VirtualServiceKey::EastWest { vip, .. } => Key::new().address(*vip),
        VirtualServiceKey::Ingress { protocol, port } => port_key(*protocol, *port),
    }
}

/// For a map of affinities, the map of slots by which those are known that lead to a real server in the ring.
pub(super) fn slots_of(affinity: &str) -> Option<String> {
    let front = Front::all().find(|front| front.set(Part::Affinity) == affinity)?;
    Some(front.set(Part::Slots))
}

/// The address of the real server that this element counts; `None` if the set holds something else.
pub(super) fn server_address(set: &str, key: &[u8]) -> Option<IpAddr> {
    let front = Front::all().find(|front| front.set(Part::Servers) == set)?;
    match front.family {
        Family::V4 => Some(IpAddr::from(*key.first_chunk::<4>()?)),
        Family::V6 => Some(IpAddr::from(*key.first_chunk::<16>()?)),
    }
}

/// A protocol and a port.
pub(super) fn port_key(protocol: Protocol, port: u16) -> Key {
    Key::new().bytes(&[protocol.ip_number()]).port(port)
}
