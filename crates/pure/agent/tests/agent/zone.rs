//! What each sandbox resolves.

use crate::example::{self, assignment, client_1, facts, ip, my_demo, whoami, whoami_1, whoami_2};
use shoal_agent::{names, zones};
use shoal_model::dns::Zone;
use shoal_model::{Assignment, NetworkId, TaskState};
use std::net::IpAddr;

fn zone(assignment: &Assignment) -> Zone {
    zones(assignment, &facts()).remove(&client_1()).unwrap()
}

fn resolved<'z>(zone: &'z Zone, name: &str) -> Option<&'z [IpAddr]> {
    zone.names.get(name).map(Vec::as_slice)
}

#[test]
fn services_tasks_and_containers_have_names() {
    let zone = zone(&assignment());
    let container = format!("whoami.2.{}", whoami_2());
    let short = names::short_container_id(&whoami_2());
    for (name, addresses) in [
        ("whoami", vec!["10.0.1.5"]),
        ("whoami.my-demo", vec!["10.0.1.5"]),
        ("tasks.whoami", vec!["10.0.1.6", "10.0.1.7"]),
        ("tasks.whoami.my-demo", vec!["10.0.1.6", "10.0.1.7"]),
        ("client", vec!["10.0.1.2"]),
        (container.as_str(), vec!["10.0.1.7"]),
        (short.as_str(), vec!["10.0.1.7"]),
    ] {
        let addresses: Vec<IpAddr> = addresses.into_iter().map(ip).collect();
        assert_eq!(resolved(&zone, name), Some(addresses.as_slice()), "{name}");
    }
    assert_eq!(resolved(&zone, "whoami.ingress"), None, "ingress has no names");
    assert_eq!(zone.reverse[&ip("10.0.1.7")], format!("{container}.my-demo"));
    assert_eq!(zone.reverse[&ip("10.0.1.5")], "whoami.my-demo");
}

#[test]
fn with_dns_round_robin_the_service_is_its_tasks() {
    let mut assignment = assignment();
    let network = assignment.networks.get_mut(&my_demo()).unwrap();
    let service = network.services.get_mut(&whoami()).unwrap();
    service.vips.clear();
    service.tasks.get_mut(&whoami_1()).unwrap().weight = 0;
    assert_eq!(resolved(&zone(&assignment), "whoami"), Some(&[ip("10.0.1.7")][..]), "one of them drains");

    let service = assignment.networks.get_mut(&my_demo()).unwrap().services.get_mut(&whoami()).unwrap();
    service.tasks.get_mut(&whoami_2()).unwrap().weight = 0;
    let both = [ip("10.0.1.6"), ip("10.0.1.7")];
    assert_eq!(resolved(&zone(&assignment), "whoami"), Some(&both[..]), "better than nobody");

    let service = assignment.networks.get_mut(&my_demo()).unwrap().services.get_mut(&whoami()).unwrap();
    service.tasks.clear();
    assert_eq!(resolved(&zone(&assignment), "whoami"), Some(&[][..]), "the name exists");
}

#[test]
fn aliases_stand_for_the_service() {
    let mut assignment = assignment();
    let network = assignment.networks.get_mut(&my_demo()).unwrap();
    let task = network.services.get_mut(&whoami()).unwrap().tasks.get_mut(&whoami_1()).unwrap();
    task.aliases = vec!["Who".to_owned()];
    let zone = zone(&assignment);
    assert_eq!(resolved(&zone, "who"), Some(&[ip("10.0.1.5")][..]));
    assert_eq!(resolved(&zone, "who.my-demo"), Some(&[ip("10.0.1.5")][..]));
    assert!(resolved(&zone, "tasks.who").is_some());
}

#[test]
fn a_task_knows_its_own_names() {
    let mut assignment = assignment();
    let task = assignment.tasks.get_mut(&client_1()).unwrap();
    task.spec.container_spec.as_mut().unwrap().hostname =
        "{{.Service.Name}}-on-{{.Node.Hostname}}".to_owned();
    let zone = zone(&assignment);
    assert_eq!(resolved(&zone, "client-on-swarm-manager"), Some(&[ip("10.0.1.3")][..]));
    assert_eq!(resolved(&zone, &names::short_container_id(&client_1())), Some(&[ip("10.0.1.3")][..]));
}

#[test]
fn the_first_network_that_knows_a_name_counts() {
    let mut assignment = assignment();
    let other = NetworkId::from_random(12 << 100);
    let mut second = example::network(other.clone(), "second", "10.0.2.0/24", 4098);
    let mut service = assignment.networks[&my_demo()].services[&whoami()].clone();
    service.vips = vec![ip("10.0.2.5")];
    second.services.insert(whoami(), service);
    assignment.networks.insert(other.clone(), second);
    let task = assignment.tasks.get_mut(&client_1()).unwrap();
    task.attachments.push(example::attachment(other, "10.0.2.3/24"));
    let zone = zone(&assignment);
    assert_eq!(resolved(&zone, "whoami"), Some(&[ip("10.0.1.5")][..]));
    assert_eq!(resolved(&zone, "whoami.second"), Some(&[ip("10.0.2.5")][..]));
}

#[test]
fn other_names_are_forwarded_unless_there_is_no_way_out() {
    let mut assignment = assignment();
    let task = assignment.tasks.get_mut(&client_1()).unwrap();
    let spec = task.spec.container_spec.as_mut().unwrap();
    let nameservers = vec!["9.9.9.9".to_owned(), "fd00::53".to_owned(), "nonsense".to_owned()];
    spec.dns_config = Some(shoal_model::spec::DnsConfig { nameservers, ..Default::default() });
    let open = zone(&assignment);
    assert!(open.forwards);
    assert_eq!(open.forward_to, [ip("9.9.9.9"), ip("fd00::53")]);
    assignment.networks.get_mut(&my_demo()).unwrap().network.spec.internal = true;
    assert!(!zone(&assignment).forwards);
    assert!(zones(&assignment, &facts())[&whoami_1()].forwards, "it is on ingress, too");
}

#[test]
fn both_families_are_answered() {
    let zone = zone(&example::dual_stack(assignment()));
    for (name, addresses) in [
        ("whoami", &["10.0.1.5", "fd00:6::5"][..]),
        ("whoami.my-demo", &["10.0.1.5", "fd00:6::5"]),
        ("tasks.whoami", &["10.0.1.6", "10.0.1.7", "fd00:6::6", "fd00:6::7"]),
        (&names::short_container_id(&whoami_1()), &["10.0.1.6", "fd00:6::6"]),
        (&names::short_container_id(&client_1()), &["10.0.1.3", "fd00:6::3"]),
    ] {
        let expected: Vec<_> = addresses.iter().map(|address| ip(address)).collect();
        assert_eq!(zone.names[name], expected, "{name}");
    }
    for (four, six) in [("10.0.1.5", "fd00:6::5"), ("10.0.1.6", "fd00:6::6")] {
        assert_eq!(zone.reverse[&ip(four)], zone.reverse[&ip(six)]);
    }
}

#[test]
fn ended_tasks_need_no_names() {
    let mut assignment = assignment();
    assignment.tasks.get_mut(&client_1()).unwrap().known = TaskState::Failed;
    assert!(!zones(&assignment, &facts()).contains_key(&client_1()));
}
