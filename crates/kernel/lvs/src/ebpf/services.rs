//! Services, rings and real servers: compares the declared ones with those in the kernel and plans the writes.
//!
//! Planning is pure, and the order of the steps is what keeps traffic whole at every moment: a ring's new generation is
//! written slot by slot before the service points at it, and only then the old one goes. A real server's number is
//! never given out twice, so that a flow that still bears it finds nobody rather than somebody else.

use super::abi::{
    AllowKey, NetworkText, PROTOCOL_TCP, PROTOCOL_UDP, PortKey, SERVICE_ON_ADDRESSES, SERVICE_RESTRICTED,
    Server, Service, ServiceAddress, SlotKey, Tally, VipKey, text_of, text28,
};
use super::map::Maps;
use crate::Error;
use crate::difference::{Difference, Found, Subject};
use ipnet::IpNet;
use shoal_model::lvs::{Access, RING_SLOTS_MAX, RealServer, Table, VirtualService, VirtualServiceKey};
use shoal_model::spec::Protocol;
use shoal_model::{NetworkId, TaskId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Everything about services that the kernel holds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Held {
    pub(crate) networks: BTreeMap<NetworkText, u32>,
    pub(crate) services: BTreeMap<KernelKey, Service>,
    pub(crate) slots: HashMap<SlotKey, u32>,
    pub(crate) servers: BTreeMap<u32, Server>,
    pub(crate) cursors: BTreeSet<u32>,
    pub(crate) tallies: BTreeSet<u32>,
    pub(crate) allowed: BTreeSet<AllowKey>,
    pub(crate) published_on: BTreeSet<ServiceAddress>,
    pub(crate) next: NextNumbers,
}

/// The next free numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextNumbers {
    service: u32,
    server: u32,
    network: u32,
}

/// A service's key in either of the two maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KernelKey {
    Vip(VipKey),
    Port(PortKey),
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    SetNextNumbers(NextNumbers),
    PutNetwork(NetworkText, u32),
    PutCursor(u32),
    PutTally(u32),
    PutServer(u32, Server),
    PutSlot(SlotKey, u32),
    PutAllowed(AllowKey),
    PutPublishedOn(ServiceAddress),
    PutService(KernelKey, Service),
    RemoveService(KernelKey),
    RemoveSlot(SlotKey),
    RemoveServer(u32),
    RemoveTally(u32),
    RemoveCursor(u32),
    RemoveNetwork(NetworkText),
    RemoveAllowed(AllowKey),
    RemovePublishedOn(ServiceAddress),
}

impl Held {
    /// Reads it all.
    pub(crate) fn read(maps: &Maps) -> Result<Self, Error> {
        let vips = maps.vip_services.dump()?.into_iter().map(|(k, v)| (KernelKey::Vip(k), v));
        let ports = maps.port_services.dump()?.into_iter().map(|(k, v)| (KernelKey::Port(k), v));
        Ok(Self {
            networks: maps.networks.dump()?.into_iter().collect(),
            services: vips.chain(ports).collect(),
            slots: maps.slots.dump()?.into_iter().collect(),
            servers: maps.servers.dump()?.into_iter().collect(),
            cursors: maps.cursors.dump()?.into_iter().map(|(k, _)| k).collect(),
            tallies: maps.tallies.dump()?.into_iter().map(|(k, _)| k).collect(),
            allowed: maps.allowed.keys()?.into_iter().collect(),
            published_on: maps.published_on.dump()?.into_iter().map(|(k, _)| k).collect(),
            next: NextNumbers {
                service: maps.next_numbers.get(&0)?.unwrap_or(0),
                server: maps.next_numbers.get(&1)?.unwrap_or(0),
                network: maps.next_numbers.get(&2)?.unwrap_or(0),
            },
        })
    }

    /// The declared name of a key, if its parts are known.
    pub(crate) fn name_of(&self, key: &KernelKey) -> Option<VirtualServiceKey> {
        match key {
            KernelKey::Port(key) => {
                let protocol = match key.protocol {
                    PROTOCOL_TCP => Protocol::Tcp,
                    PROTOCOL_UDP => Protocol::Udp,
                    _ => return None,
                };
                Some(VirtualServiceKey::Ingress { protocol, port: u16::from_be(key.port) })
            }
            KernelKey::Vip(key) => {
                let text = self.networks.iter().find(|(_, number)| **number == key.network)?.0;
                let network: NetworkId = text_of(&text.text).parse().ok()?;
                Some(VirtualServiceKey::EastWest { network, vip: IpAddr::from(key.vip) })
            }
        }
    }
}

/// What must be done, in order, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) differences: Vec<Difference>,
    /// Numbers of the declared networks once the steps are done.
    pub(crate) networks: BTreeMap<NetworkId, u32>,
    /// Real servers that go.
    pub(crate) removed: Vec<(u32, Server)>,
}

/// Compares.
pub(crate) fn plan(table: &Table, held: &Held) -> Plan {
    let by_task =
        held.servers.iter().map(|(number, server)| ((server.service, server.task), *number)).collect();
    let mut planner = Planner {
        held,
        access: HeldAccess::of(held),
        by_task,
        next: held.next,
        plan: Plan::default(),
        kept: Kept::default(),
    };
    let networks = planner.networks(table);
    for (key, service) in &table.services {
        match kernel_key(key, &networks) {
            Some(kernel_key) if service.ring.len() <= RING_SLOTS_MAX => {
                planner.service(key, kernel_key, service);
            }
            Some(_) => planner.unable(key, "its ring is too long"),
            None => planner.unable(key, "only tcp and udp can be balanced"),
        }
    }
    planner.plan.networks = networks;
    planner.finish()
}

fn kernel_key(key: &VirtualServiceKey, networks: &BTreeMap<NetworkId, u32>) -> Option<KernelKey> {
    match key {
        VirtualServiceKey::EastWest { network, vip } => {
            Some(KernelKey::Vip(VipKey { network: *networks.get(network)?, vip: (*vip).into() }))
        }
        VirtualServiceKey::Ingress { protocol: Protocol::Sctp, .. } => None,
        VirtualServiceKey::Ingress { protocol, port } => {
            let protocol = protocol.ip_number();
            Some(KernelKey::Port(PortKey { port: port.to_be(), protocol, zero: 0 }))
        }
    }
}

/// IPv4 networks are held as parts of `::ffff:0:0/96`, behind the 32 bits of the service's number.
fn allow_key(service: u32, network: IpNet) -> AllowKey {
    let family = if network.addr().is_ipv4() { 96 } else { 0 };
    let prefix = 32 + family + u32::from(network.prefix_len());
    AllowKey { prefix, service, network: network.network().into() }
}

/// What of the kernel's is declared, and therefore stays.
#[derive(Debug, Default)]
struct Kept {
    networks: BTreeSet<NetworkText>,
    services: BTreeSet<KernelKey>,
    numbers: BTreeSet<u32>,
    rings: BTreeSet<(u32, u32)>,
    servers: BTreeSet<u32>,
    allowed: BTreeSet<AllowKey>,
    published_on: BTreeSet<ServiceAddress>,
}

/// What the kernel holds of access, by service.
#[derive(Debug, Default)]
struct HeldAccess {
    allowed: HashMap<u32, BTreeSet<AllowKey>>,
    published_on: HashMap<u32, BTreeSet<ServiceAddress>>,
}

impl HeldAccess {
    fn of(held: &Held) -> Self {
        let mut access = Self::default();
        for key in &held.allowed {
            access.allowed.entry(key.service).or_default().insert(*key);
        }
        for key in &held.published_on {
            access.published_on.entry(key.service).or_default().insert(*key);
        }
        access
    }
}

struct Planner<'a> {
    held: &'a Held,
    access: HeldAccess,
    /// Numbers of real servers by service and task.
    by_task: HashMap<(u32, [u8; 28]), u32>,
    next: NextNumbers,
    plan: Plan,
    kept: Kept,
}

fn take(next: &mut u32) -> u32 {
    *next += 1;
    *next
}

impl Planner<'_> {
    fn found(&mut self, subject: Subject, found: Found) {
        self.plan.differences.push(Difference { subject, found, unrepaired: None });
    }

    fn unable(&mut self, key: &VirtualServiceKey, reason: &str) {
        let subject = Subject::Service(key.clone());
        let unrepaired = Some(reason.to_owned());
        self.plan.differences.push(Difference { subject, found: Found::Missing, unrepaired });
    }

    fn networks(&mut self, table: &Table) -> BTreeMap<NetworkId, u32> {
        let of_services = table.services.keys().filter_map(|key| match key {
            VirtualServiceKey::EastWest { network, .. } => Some(network),
            VirtualServiceKey::Ingress { .. } => None,
        });
        let wanted: BTreeSet<&NetworkId> = of_services.chain(table.sandboxes.values().flatten()).collect();
        let mut numbers = BTreeMap::new();
        for network in wanted {
            let text = NetworkText { text: text28(network.as_str()) };
            let number = self.held.networks.get(&text).copied().unwrap_or_else(|| {
                let number = take(&mut self.next.network);
                self.plan.steps.push(Step::PutNetwork(text, number));
                number
            });
            self.kept.networks.insert(text);
            numbers.insert(network.clone(), number);
        }
        numbers
    }

    fn service(&mut self, key: &VirtualServiceKey, kernel_key: KernelKey, service: &VirtualService) {
        let held = self.held.services.get(&kernel_key).copied();
        let number = held.map_or_else(|| take(&mut self.next.service), |h| h.number);
        self.kept.services.insert(kernel_key);
        self.kept.numbers.insert(number);
        if !self.held.cursors.contains(&number) {
            self.plan.steps.push(Step::PutCursor(number));
            if held.is_some() {
                self.found(Subject::Service(key.clone()), Found::Different);
            }
        }
        let servers: Vec<u32> =
            service.real_servers.iter().map(|real| self.real_server(key, number, real)).collect();
        let ring: Vec<u32> =
            service.ring.iter().filter_map(|index| servers.get(usize::from(*index)).copied()).collect();
        let access = Some(&service.access).filter(|_| matches!(key, VirtualServiceKey::Ingress { .. }));
        let (flags, access_differs) = access.map_or((0, false), |access| self.access(number, access));
        let mut wanted = Service {
            number,
            generation: held.map_or(1, |h| h.generation),
            slots: u32::try_from(ring.len()).unwrap_or(u32::MAX),
            scheduler: u32::from(service.scheduler.is_hashed()),
            affinity: service.affinity.unwrap_or(0),
            flags,
        };
        if let Some(held) = held
            && held == wanted
            && self.ring_is(&held, &ring)
        {
            self.kept.rings.insert((number, held.generation));
            if access_differs {
                self.found(Subject::Service(key.clone()), Found::Different);
            }
            return;
        }
        wanted.generation = held.map_or(1, |h| h.generation.wrapping_add(1));
        let generation = wanted.generation;
        self.found(
            Subject::Service(key.clone()),
            if held.is_some() { Found::Different } else { Found::Missing },
        );
        self.kept.rings.insert((number, generation));
        for (slot, server) in (0_u32..).zip(ring) {
            self.plan.steps.push(Step::PutSlot(SlotKey { service: number, generation, slot }, server));
        }
        self.plan.steps.push(Step::PutService(kernel_key, wanted));
    }

    /// Adds what the service's access needs; returns its flags, and whether the kernel held something else. What must go
    /// goes last, so that nobody is shut out meanwhile.
    fn access(&mut self, service: u32, access: &Access) -> (u32, bool) {
        let allowed: BTreeSet<AllowKey> = access.allow.iter().map(|net| allow_key(service, *net)).collect();
        let addresses = access.addresses.iter().flatten();
        let published_on: BTreeSet<ServiceAddress> =
            addresses.map(|address| ServiceAddress { service, address: (*address).into() }).collect();
        let held_allowed = self.access.allowed.remove(&service).unwrap_or_default();
        let held_on = self.access.published_on.remove(&service).unwrap_or_default();
        let differs = allowed != held_allowed || published_on != held_on;
        let mut steps: Vec<Step> =
            allowed.difference(&held_allowed).map(|key| Step::PutAllowed(*key)).collect();
        steps.extend(published_on.difference(&held_on).map(|key| Step::PutPublishedOn(*key)));
        let flags = if allowed.is_empty() { 0 } else { SERVICE_RESTRICTED }
            | if access.addresses.is_some() { SERVICE_ON_ADDRESSES } else { 0 };
        self.plan.steps.extend(steps);
        self.kept.allowed.extend(allowed);
        self.kept.published_on.extend(published_on);
        (flags, differs)
    }

    fn ring_is(&self, held: &Service, ring: &[u32]) -> bool {
        (0_u32..).zip(ring).all(|(slot, server)| {
            let key = SlotKey { service: held.number, generation: held.generation, slot };
            self.held.slots.get(&key) == Some(server)
        })
    }

    /// Keeps or adds a real server; returns its number.
    fn real_server(&mut self, key: &VirtualServiceKey, service: u32, real: &RealServer) -> u32 {
        let wanted = Server {
            address: real.address.into(),
            address6: real.address6.into(),
            mac: real.mac.0,
            port: real.port.to_be(),
            service,
            weight: real.weight,
            task: text28(real.task.as_str()),
        };
        let held = self.by_task.get(&(service, wanted.task)).copied();
        let held = held.and_then(|number| Some((number, *self.held.servers.get(&number)?)));
        let subject = || Subject::RealServer(key.clone(), real.task.clone());
        let number = if let Some((number, value)) = held {
            if value != wanted {
                self.found(subject(), Found::Different);
                self.plan.steps.push(Step::PutServer(number, wanted));
            }
            if !self.held.tallies.contains(&number) {
                self.found(subject(), Found::Different);
                self.plan.steps.push(Step::PutTally(number));
            }
            number
        } else {
            let number = take(&mut self.next.server);
            self.found(subject(), Found::Missing);
            self.plan.steps.push(Step::PutTally(number));
            self.plan.steps.push(Step::PutServer(number, wanted));
            number
        };
        self.kept.servers.insert(number);
        number
    }

    /// Adds the removal of everything that is not declared.
    fn finish(mut self) -> Plan {
        let held = self.held;
        for key in held.services.keys().filter(|key| !self.kept.services.contains(key)) {
            self.plan.steps.push(Step::RemoveService(*key));
            let subject = held.name_of(key).map_or(Subject::Leftover("service"), Subject::Service);
            let found = Found::Unexpected;
            self.plan.differences.push(Difference { subject, found, unrepaired: None });
        }
        let mut leftover_slots = false;
        let known: BTreeSet<u32> = held.services.values().map(|service| service.number).collect();
        for key in held.slots.keys() {
            if !self.kept.rings.contains(&(key.service, key.generation)) {
                self.plan.steps.push(Step::RemoveSlot(*key));
                // The ring that a change has just replaced is no news.
                leftover_slots |= !known.contains(&key.service);
            }
        }
        if leftover_slots {
            self.found(Subject::Leftover("ring"), Found::Unexpected);
        }
        self.undeclared_servers();
        let allowed = held.allowed.difference(&self.kept.allowed);
        self.plan.steps.extend(allowed.map(|key| Step::RemoveAllowed(*key)));
        let published_on = held.published_on.difference(&self.kept.published_on);
        self.plan.steps.extend(published_on.map(|key| Step::RemovePublishedOn(*key)));
        let undeclared = |number: &&u32| !self.kept.numbers.contains(number);
        let cursors = held.cursors.iter().filter(undeclared).map(|n| Step::RemoveCursor(*n));
        self.plan.steps.extend(cursors);
        let networks = held.networks.keys().filter(|text| !self.kept.networks.contains(text));
        self.plan.steps.extend(networks.map(|text| Step::RemoveNetwork(*text)));
        if self.next != held.next {
            // First of all: a number that was used must never look free, whatever interrupts us.
            self.plan.steps.insert(0, Step::SetNextNumbers(self.next));
        }
        self.plan
    }

    fn undeclared_servers(&mut self) {
        let held = self.held;
        let by_number: HashMap<u32, &KernelKey> =
            held.services.iter().map(|(key, service)| (service.number, key)).collect();
        for (number, server) in held.servers.iter().filter(|(n, _)| !self.kept.servers.contains(n)) {
            self.plan.steps.push(Step::RemoveServer(*number));
            self.plan.removed.push((*number, *server));
            let service = by_number.get(&server.service).and_then(|key| held.name_of(key));
            let task = text_of(&server.task).parse::<TaskId>().ok();
            let subject = match service.zip(task) {
                Some((service, task)) => Subject::RealServer(service, task),
                None => Subject::Leftover("real server"),
            };
            self.plan.differences.push(Difference { subject, found: Found::Unexpected, unrepaired: None });
        }
        let undeclared = held.tallies.iter().filter(|number| !self.kept.servers.contains(number));
        self.plan.steps.extend(undeclared.map(|number| Step::RemoveTally(*number)));
    }
}

/// Carries out one step.
pub(crate) fn act(maps: &Maps, step: &Step) -> Result<(), Error> {
    match step {
        Step::SetNextNumbers(next) => {
            maps.next_numbers.put(&0, &next.service)?;
            maps.next_numbers.put(&1, &next.server)?;
            maps.next_numbers.put(&2, &next.network)
        }
        Step::PutNetwork(text, number) => maps.networks.put(text, number),
        Step::PutCursor(service) => maps.cursors.put(service, &0),
        Step::PutTally(server) => maps.tallies.put(server, &Tally::default()),
        Step::PutServer(number, server) => maps.servers.put(number, server),
        Step::PutSlot(key, server) => maps.slots.put(key, server),
        Step::PutService(KernelKey::Vip(key), service) => maps.vip_services.put(key, service),
        Step::PutService(KernelKey::Port(key), service) => maps.port_services.put(key, service),
        Step::RemoveService(KernelKey::Vip(key)) => maps.vip_services.remove(key),
        Step::RemoveService(KernelKey::Port(key)) => maps.port_services.remove(key),
        Step::RemoveSlot(key) => maps.slots.remove(key),
        Step::RemoveServer(number) => maps.servers.remove(number),
        Step::RemoveTally(number) => maps.tallies.remove(number),
        Step::RemoveCursor(number) => maps.cursors.remove(number),
        Step::RemoveNetwork(text) => maps.networks.remove(text),
        Step::PutAllowed(key) => maps.allowed.put(key, &1),
        Step::PutPublishedOn(key) => maps.published_on.put(key, &1),
        Step::RemoveAllowed(key) => maps.allowed.remove(key),
        Step::RemovePublishedOn(key) => maps.published_on.remove(key),
    }
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
