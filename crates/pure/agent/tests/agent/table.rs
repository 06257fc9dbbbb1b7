//! What the balancer holds.

use crate::example::{self, NOW, all_running, assignment, facts, ip, my_demo, whoami_1, whoami_2};
use shoal_agent::{connections, counts_connections, declare, names, table};
use shoal_model::assignment::{Health, ObservedContainer};
use shoal_model::lvs::{Access, Counters, PortMapping, Scheduler, Table, VirtualServiceKey};
use shoal_model::netns::{NamespaceName, Namespaces};
use shoal_model::spec::{Protocol, PublishMode};
use shoal_model::{Assignment, Observed};
use std::collections::{BTreeMap, BTreeSet};

fn table_of(assignment: &Assignment, observed: &Observed) -> Table {
    let declared = declare(assignment, observed, &Namespaces::new(), &facts(), NOW);
    table(assignment, observed, &declared, &facts())
}

fn published() -> VirtualServiceKey {
    VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8000 }
}

fn balanced() -> VirtualServiceKey {
    VirtualServiceKey::EastWest { network: my_demo(), vip: ip("10.0.1.5") }
}

#[test]
fn every_virtual_address_and_published_port_is_a_service() {
    let table = table_of(&assignment(), &all_running(&assignment()));
    let keys: Vec<_> = table.services.keys().cloned().collect();
    let client = VirtualServiceKey::EastWest { network: my_demo(), vip: ip("10.0.1.2") };
    assert_eq!(keys, [client, balanced(), published()]);
    let mesh = &table.services[&published()];
    let servers: Vec<_> = mesh.real_servers.iter().map(|s| (s.address, s.port, s.weight)).collect();
    assert_eq!(servers, [(ip("10.0.0.6"), 80, 1), (ip("10.0.0.7"), 80, 1)]);
    assert_eq!((mesh.scheduler, mesh.ring.as_slice()), (Scheduler::RoundRobin, &[0, 1][..]));
    let east_west = &table.services[&balanced()];
    let servers: Vec<_> = east_west.real_servers.iter().map(|s| (s.address, s.port)).collect();
    assert_eq!(servers, [(ip("10.0.1.6"), 0), (ip("10.0.1.7"), 0)]);
}

#[test]
fn a_local_task_that_does_not_serve_gets_no_new_connections() {
    let assignment = assignment();
    let mut cases = Vec::new();
    let mut gone = all_running(&assignment);
    gone.containers.remove(&whoami_1());
    cases.push(("gone", gone));
    let mut with = |what, change: &dyn Fn(&mut ObservedContainer)| {
        let mut observed = all_running(&assignment);
        change(observed.containers.get_mut(&whoami_1()).unwrap());
        cases.push((what, observed));
    };
    with("stopping", &|c| c.stopping_since = Some(NOW));
    with("sick", &|c| c.health = Some(Health::Unhealthy));
    with("ended", &|c| *c = example::exited(&whoami_1(), 0));
    for (what, observed) in cases {
        let service = &table_of(&assignment, &observed).services[&balanced()];
        let weights: Vec<_> = service.real_servers.iter().map(|s| s.weight).collect();
        assert_eq!((weights, service.ring.as_slice()), (vec![0, 1], &[1][..]), "{what}");
    }
}

#[test]
fn a_restarted_daemon_keeps_what_served_before_its_probes_have_spoken() {
    let assignment = assignment();
    let mut observed = all_running(&assignment);
    observed.containers.get_mut(&whoami_1()).unwrap().health = Some(Health::Starting);
    let service = &table_of(&assignment, &observed).services[&balanced()];
    assert_eq!(service.real_servers.iter().map(|s| s.weight).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_draining_task_stays_known_without_a_place_in_the_ring() {
    let mut assignment = assignment();
    for network in assignment.networks.values_mut() {
        for service in network.services.values_mut() {
            if let Some(task) = service.tasks.get_mut(&whoami_2()) {
                task.weight = 0;
            }
        }
    }
    let service = &table_of(&assignment, &all_running(&assignment)).services[&published()];
    assert_eq!(service.real_servers.len(), 2);
    assert_eq!(service.ring, [0]);
}

#[test]
fn the_services_label_chooses_the_scheduler() {
    for (label, scheduler) in
        [("sh", Scheduler::SourceHash), ("p2c", Scheduler::PowerOfTwoChoices), ("", Scheduler::RoundRobin)]
    {
        let mut assignment = assignment();
        for network in assignment.networks.values_mut() {
            let service = network.services.get_mut(&example::whoami()).unwrap();
            service.labels.insert("shoal.lb.scheduler".to_owned(), label.to_owned());
        }
        let table = table_of(&assignment, &all_running(&assignment));
        assert_eq!(table.services[&published()].scheduler, scheduler, "{label:?}");
        assert_eq!(table.services[&balanced()].scheduler, scheduler, "{label:?}");
    }
}

#[test]
fn weights_affinity_and_connections_reach_the_ring() {
    let mut assignment = assignment();
    let mut whoami = |change: &dyn Fn(&mut shoal_model::assignment::ServiceOnNetwork)| {
        let ingress = assignment.networks.get_mut(&example::ingress()).unwrap();
        change(ingress.services.get_mut(&example::whoami()).unwrap());
        table_of(&assignment, &all_running(&assignment)).services.remove(&published()).unwrap()
    };
    let heavy = whoami(&|s| s.tasks.get_mut(&whoami_1()).unwrap().weight = 3);
    assert_eq!((heavy.scheduler, heavy.affinity), (Scheduler::WeightedRoundRobin, None));
    assert_eq!(heavy.ring.len(), 4);
    let asked = whoami(&|s| {
        s.labels.insert("shoal.lb.affinity".to_owned(), "10m".to_owned());
        s.labels.insert("shoal.lb.scheduler".to_owned(), "lc".to_owned());
        s.tasks.get_mut(&whoami_1()).unwrap().weight = 1;
        s.tasks.get_mut(&whoami_2()).unwrap().connections = 7;
    });
    assert_eq!((asked.scheduler, asked.affinity), (Scheduler::LeastConnection, Some(600)));
    let of_second = asked.real_servers.iter().position(|server| server.task == whoami_2()).unwrap();
    let slots = asked.ring.iter().filter(|n| usize::from(**n) == of_second).count();
    assert_eq!((slots, asked.ring.len()), (2, 11), "seven behind, and two rounds");
}

#[test]
fn connections_are_counted_for_services_that_go_by_them() {
    let mut assignment = assignment();
    let live = |active, inactive| Counters { active, inactive, ..Counters::default() };
    let udp = VirtualServiceKey::Ingress { protocol: Protocol::Udp, port: 53 };
    let counters = BTreeMap::from([
        (published(), BTreeMap::from([(whoami_1(), live(3, 9)), (whoami_2(), live(0, 9))])),
        (balanced(), BTreeMap::from([(whoami_1(), live(2, 9))])),
        (udp, BTreeMap::from([(whoami_1(), live(0, 10))])),
    ]);
    assert!(!counts_connections(&assignment));
    assert!(connections(&assignment, &counters).is_empty());
    for network in assignment.networks.values_mut() {
        let labels = &mut network.services.get_mut(&example::whoami()).unwrap().labels;
        labels.insert("shoal.lb.scheduler".to_owned(), "p2c".to_owned());
    }
    assert!(counts_connections(&assignment));
    let expected = BTreeMap::from([(example::whoami(), BTreeMap::from([(whoami_1(), 15)]))]);
    assert_eq!(connections(&assignment, &counters), expected);
}

#[test]
fn labels_say_who_may_use_a_published_port_and_where() {
    let mut assignment = assignment();
    let ingress = assignment.networks.get_mut(&example::ingress()).unwrap();
    let labels = &mut ingress.services.get_mut(&example::whoami()).unwrap().labels;
    labels.insert("shoal.publish.allow".to_owned(), "192.168.50.0/24".to_owned());
    labels.insert("shoal.publish.on".to_owned(), "8000=eth0".to_owned());
    let table = table_of(&assignment, &all_running(&assignment));
    let access = &table.services[&published()].access;
    assert_eq!(access.allow, BTreeSet::from([example::net("192.168.50.0/24")]));
    assert_eq!(access.addresses, Some(BTreeSet::from([ip("192.168.50.11")])));
    assert_eq!(table.services[&balanced()].access, Access::default());
}

#[test]
fn host_mode_ports_and_round_robin_by_dns_are_not_balanced() {
    let mut assignment = assignment();
    let ingress = assignment.networks.get_mut(&example::ingress()).unwrap();
    let service = ingress.services.get_mut(&example::whoami()).unwrap();
    service.ports[0].publish_mode = Some(PublishMode::Host);
    let network = assignment.networks.get_mut(&my_demo()).unwrap();
    network.services.get_mut(&example::whoami()).unwrap().vips.clear();
    let table = table_of(&assignment, &all_running(&assignment));
    assert!(!table.services.contains_key(&published()) && !table.services.contains_key(&balanced()));
}

#[test]
fn sandboxes_are_balanced_on_their_overlays() {
    let table = table_of(&assignment(), &all_running(&assignment()));
    let on_my_demo = BTreeSet::from([my_demo()]);
    let expected = [names::sandbox(&example::client_1()), names::sandbox(&whoami_1())];
    let held: Vec<_> = table.sandboxes.iter().collect();
    assert_eq!(held, expected.iter().map(|name| (name, &on_my_demo)).collect::<Vec<_>>());
}

#[test]
fn the_mesh_hooks_in_where_the_namespaces_are_declared() {
    let assignment = assignment();
    let observed = all_running(&assignment);
    let declared = declare(&assignment, &observed, &Namespaces::new(), &facts(), NOW);
    let mesh = table(&assignment, &observed, &declared, &facts()).mesh.unwrap();
    assert_eq!(mesh.sandbox, NamespaceName::ingress_sandbox());
    let sandbox = &declared[&mesh.sandbox].links;
    assert_eq!(sandbox[&mesh.sandbox_ingress_link].mac, Some(mesh.sandbox_ingress_mac));
    assert!(sandbox.contains_key(&mesh.sandbox_gateway_link));
    assert!(declared[&NamespaceName::Host].links.contains_key(&mesh.host_gateway_port));
    let task = &mesh.tasks[&whoami_1()];
    assert!(declared[&mesh.overlay].links.contains_key(&task.port_link));
    assert_eq!(declared[&task.sandbox].links["eth0"].mac, Some(task.mac));
    assert_eq!(task.address, ip("10.0.0.6"));
    let port = PortMapping { protocol: Protocol::Tcp, published: 8000, target: 80 };
    assert_eq!(task.ports, BTreeSet::from([port]));
    assert_eq!(mesh.tasks.len(), 1);
}

#[test]
fn without_an_ingress_endpoint_there_is_no_mesh() {
    let mut assignment = assignment();
    assignment.networks.get_mut(&example::ingress()).unwrap().own = None;
    assert_eq!(table_of(&assignment, &all_running(&assignment)).mesh, None);
    assert_eq!(table_of(&Assignment::default(), &Observed::default()), Table::default());
}

#[test]
fn each_family_has_its_own_real_servers() {
    let mut assignment = example::dual_stack(assignment());
    let demo = assignment.networks.get_mut(&my_demo()).unwrap();
    let whoami = demo.services.get_mut(&example::whoami()).unwrap();
    whoami.tasks.get_mut(&whoami_2()).unwrap().addresses.truncate(1);
    let table = table_of(&assignment, &all_running(&assignment));
    let servers = |vip: &str| -> Vec<_> {
        let key = VirtualServiceKey::EastWest { network: my_demo(), vip: ip(vip) };
        table.services[&key].real_servers.iter().map(|s| (s.address.to_string(), s.address6)).collect()
    };
    assert_eq!(servers("10.0.1.5"), [("10.0.1.6".to_owned(), None), ("10.0.1.7".to_owned(), None)]);
    assert_eq!(servers("fd00:6::5"), [("fd00:6::6".to_owned(), None)]);
}

#[test]
fn the_mesh_of_a_dual_stack_network_has_both_addresses_of_each_task() {
    let assignment = example::dual_stack(assignment());
    let table = table_of(&assignment, &all_running(&assignment));
    let servers: Vec<_> =
        table.services[&published()].real_servers.iter().map(|s| (s.address, s.address6)).collect();
    let six = |text: &str| Some(text.parse().unwrap());
    assert_eq!(servers, [(ip("10.0.0.6"), six("fd00:5::6")), (ip("10.0.0.7"), six("fd00:5::7"))]);
    let mesh = table.mesh.unwrap();
    let task = &mesh.tasks[&whoami_1()];
    assert_eq!((task.address, task.address6), (ip("10.0.0.6"), six("fd00:5::6")));
    let of_this_node = &mesh.entries[&mesh.sandbox_ingress_mac];
    assert_eq!(*of_this_node, [ip("10.0.0.2"), ip("fd00:5::2")].into());
}

#[test]
fn on_an_ipv6_network_the_only_address_is_the_first() {
    let mut assignment = example::dual_stack(assignment());
    let ingress = assignment.networks.get_mut(&example::ingress()).unwrap();
    for task in ingress.services.values_mut().flat_map(|service| service.tasks.values_mut()) {
        task.addresses.remove(0);
    }
    let table = table_of(&assignment, &all_running(&assignment));
    let first = &table.services[&published()].real_servers[0];
    assert_eq!((first.address, first.address6), (ip("fd00:5::6"), None));
}
