//! Planning: table and kernel in, steps and differences out.

use super::*;
use shoal_model::Mac;
use shoal_model::lvs::Scheduler;

/// A kernel of plain maps, for plans to be carried out on.
fn carry_out(held: &mut Held, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::SetNextNumbers(next) => held.next = next,
            Step::PutNetwork(text, number) => drop(held.networks.insert(text, number)),
            Step::PutCursor(number) => drop(held.cursors.insert(number)),
            Step::PutTally(number) => drop(held.tallies.insert(number)),
            Step::PutServer(number, server) => drop(held.servers.insert(number, server)),
            Step::PutSlot(key, server) => drop(held.slots.insert(key, server)),
            Step::PutService(key, service) => drop(held.services.insert(key, service)),
            Step::RemoveService(key) => drop(held.services.remove(&key)),
            Step::RemoveSlot(key) => drop(held.slots.remove(&key)),
            Step::RemoveServer(number) => drop(held.servers.remove(&number)),
            Step::RemoveTally(number) => drop(held.tallies.remove(&number)),
            Step::RemoveCursor(number) => drop(held.cursors.remove(&number)),
            Step::RemoveNetwork(text) => drop(held.networks.remove(&text)),
            Step::PutAllowed(key) => drop(held.allowed.insert(key)),
            Step::PutPublishedOn(key) => drop(held.published_on.insert(key)),
            Step::RemoveAllowed(key) => drop(held.allowed.remove(&key)),
            Step::RemovePublishedOn(key) => drop(held.published_on.remove(&key)),
        }
        whole(held);
    }
}

/// What must hold after every single step: no service points at a slot, and no slot of a ring in use at a server, that
/// is not there.
fn whole(held: &Held) {
    for service in held.services.values() {
        assert!(held.cursors.contains(&service.number));
        for slot in 0..service.slots {
            let key = SlotKey { service: service.number, generation: service.generation, slot };
            let server = held.slots.get(&key).expect("a slot is missing");
            assert!(held.servers.contains_key(server), "a server is missing");
            assert!(held.tallies.contains(server));
        }
    }
}

fn real(task: u8, weight: u32) -> RealServer {
    RealServer {
        task: TaskId::from_random(task.into()),
        address: IpAddr::from([10, 0, 1, task]),
        address6: None,
        mac: Mac([2, 0x42, 0, 0, 0, task]),
        port: 80,
        weight,
    }
}

fn service(real_servers: Vec<RealServer>) -> VirtualService {
    let ring = (0_u16..).zip(&real_servers).filter(|(_, r)| r.weight > 0).map(|(i, _)| i).collect();
    VirtualService {
        name: "web".to_owned(),
        scheduler: Scheduler::RoundRobin,
        affinity: None,
        access: Access::default(),
        real_servers,
        ring,
    }
}

fn keys() -> [VirtualServiceKey; 2] {
    let network = NetworkId::from_random(7);
    [
        VirtualServiceKey::EastWest { network, vip: IpAddr::from([10, 0, 1, 2]) },
        VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8080 },
    ]
}

fn table(real_servers: &[RealServer]) -> Table {
    let services = keys().into_iter().map(|key| (key, service(real_servers.to_vec())));
    Table { services: services.collect(), ..Table::default() }
}

/// Carries out the plan for a table; what was found.
fn settle(held: &mut Held, table: &Table) -> Vec<Difference> {
    let plan = plan(table, held);
    carry_out(held, &plan.steps);
    plan.differences
}

#[test]
fn what_was_carried_out_needs_no_further_step() {
    let mut held = Held::default();
    let table = table(&[real(1, 1), real(2, 1)]);
    let found = settle(&mut held, &table);
    assert_eq!(found.len(), 2 * (1 + 2));
    assert!(found.iter().all(|difference| difference.found == Found::Missing));
    let again = plan(&table, &held);
    assert_eq!((again.steps, again.differences), (vec![], vec![]));
}

#[test]
fn every_change_keeps_the_rings_whole_at_every_step() {
    let mut held = Held::default();
    let stages = [
        vec![real(1, 1)],
        vec![real(1, 1), real(2, 1), real(3, 1)],
        vec![real(1, 1), real(2, 0), real(3, 1)],
        vec![real(3, 1)],
        vec![],
        vec![real(2, 1), real(4, 1)],
    ];
    for stage in stages {
        settle(&mut held, &table(&stage));
        assert!(plan(&table(&stage), &held).steps.is_empty());
        assert_eq!(held.slots.len(), 2 * stage.iter().filter(|real| real.weight > 0).count());
        assert_eq!(held.servers.len(), 2 * stage.len());
    }
}

#[test]
fn a_draining_server_keeps_its_number_and_a_returning_one_gets_another() {
    let mut held = Held::default();
    settle(&mut held, &table(&[real(1, 1), real(2, 1)]));
    let before: BTreeSet<u32> = held.servers.keys().copied().collect();
    settle(&mut held, &table(&[real(1, 1), real(2, 0)]));
    assert_eq!(held.servers.keys().copied().collect::<BTreeSet<_>>(), before);
    settle(&mut held, &table(&[real(1, 1)]));
    settle(&mut held, &table(&[real(1, 1), real(2, 1)]));
    assert_eq!(held.servers.keys().filter(|number| before.contains(number)).count(), 2);
}

#[test]
fn an_empty_table_removes_everything_but_the_next_numbers() {
    let mut held = Held::default();
    settle(&mut held, &table(&[real(1, 1)]));
    let next = held.next;
    let found = settle(&mut held, &Table::default());
    assert!(found.iter().all(|difference| difference.found == Found::Unexpected));
    assert_eq!(found.len(), 2 * 2);
    assert!(held.networks.is_empty() && held.services.is_empty() && held.slots.is_empty());
    assert!(held.servers.is_empty() && held.cursors.is_empty() && held.tallies.is_empty());
    assert_eq!(held.next, next);
}

#[test]
fn leftovers_of_an_interrupted_sync_are_removed() {
    let wanted = table(&[real(1, 1), real(2, 1)]);
    let steps = plan(&wanted, &Held::default()).steps;
    for interrupted_after in 0..steps.len() {
        let mut held = Held::default();
        carry_out(&mut held, &steps[..interrupted_after]);
        let used = held.next;
        settle(&mut held, &wanted);
        assert!(plan(&wanted, &held).steps.is_empty());
        assert_eq!((held.services.len(), held.servers.len(), held.slots.len()), (2, 4, 4));
        assert!(held.next.server >= used.server);
    }
}

#[test]
fn what_cannot_be_balanced_is_told_and_the_rest_goes_on() {
    let mut held = Held::default();
    let mut table = table(&[real(1, 1)]);
    let sctp = VirtualServiceKey::Ingress { protocol: Protocol::Sctp, port: 9 };
    table.services.insert(sctp.clone(), service(vec![real(1, 1)]));
    let found = settle(&mut held, &table);
    let unrepaired: Vec<&Difference> = found.iter().filter(|d| d.unrepaired.is_some()).collect();
    assert_eq!(unrepaired.len(), 1);
    assert_eq!(unrepaired[0].subject, Subject::Service(sctp));
    assert_eq!(held.services.len(), 2);
}

#[test]
fn access_is_in_the_kernel_before_the_service_asks_for_it_and_goes_after() {
    let mut held = Held::default();
    let mut table = table(&[real(1, 1)]);
    settle(&mut held, &table);
    let port = keys()[1].clone();
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let narrowed = Access {
        allow: nets(&["10.0.0.0/8", "fd00::/16"]),
        addresses: Some([IpAddr::from([1, 2, 3, 4])].into()),
    };
    let other = Access { allow: nets(&["10.0.0.0/8", "192.168.0.0/16"]), addresses: None };
    for access in [narrowed, other, Access::default()] {
        table.services.get_mut(&port).unwrap().access = access.clone();
        let plan = plan(&table, &held);
        let at = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted);
        let put = at(|step| matches!(step, Step::PutAllowed(_)));
        let service = at(|step| matches!(step, Step::PutService(..)));
        let remove = at(|step| matches!(step, Step::RemoveAllowed(_)));
        assert!(put.is_none_or(|put| service.is_none_or(|service| put < service)));
        assert!(remove.is_none_or(|remove| service.is_none_or(|service| service < remove)));
        let found: Vec<&Subject> = plan.differences.iter().map(|difference| &difference.subject).collect();
        assert_eq!(found, [&Subject::Service(port.clone())]);
        carry_out(&mut held, &plan.steps);
        assert_eq!(held.allowed.len(), access.allow.len());
        assert_eq!(held.published_on.len(), access.addresses.map_or(0, |a| a.len()));
        assert_eq!(settle(&mut held, &table), []);
    }
}

#[test]
fn prefixes_count_the_service_and_the_family() {
    let key = |text: &str| allow_key(7, text.parse().unwrap());
    assert_eq!(key("10.1.2.3/8").prefix, 32 + 96 + 8);
    assert_eq!(key("10.1.2.3/8").network, IpAddr::from([10, 0, 0, 0]).into());
    assert_eq!(key("fd00::/16").prefix, 32 + 16);
}
