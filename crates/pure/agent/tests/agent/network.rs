//! What is declared.

use crate::example::{self, NOW, assignment, attachment, facts, ip, my_demo, net, task};
use crate::show;
use shoal_agent::{LocalFacts, declare, names};
use shoal_model::assignment::ObservedContainer;
use shoal_model::netns::{FirewallRule, LinkKind, NamespaceName, Namespaces};
use shoal_model::spec::{PortConfig, Protocol, PublishMode};
use shoal_model::{Assignment, Observed, ServiceId, TaskId, TaskState};
use std::collections::BTreeSet;
use std::net::IpAddr;

fn declared(assignment: &Assignment) -> Namespaces {
    declare(assignment, &Observed::default(), &Namespaces::new(), &facts(), NOW)
}

fn overlay_name() -> NamespaceName {
    NamespaceName::Named(shoal_model::network::namespace_name(&my_demo()))
}

/// The address of a task's sandbox on its bridge to the outside.
fn outside(namespaces: &Namespaces, task: &TaskId) -> Option<String> {
    let links = &namespaces.get(&names::sandbox(task))?.links;
    let on_host =
        |kind: &LinkKind| matches!(kind, LinkKind::Veth { peer_namespace: NamespaceName::Host, .. });
    links.values().find(|l| on_host(&l.kind))?.addresses.first().map(ToString::to_string)
}

#[test]
fn the_articles_swarm_looks_as_in_the_article() {
    insta::assert_snapshot!(show::namespaces(&declared(&assignment())));
}

#[test]
fn an_empty_assignment_leaves_the_hosts_bridges_only() {
    insta::assert_snapshot!(show::namespaces(&declared(&Assignment::default())));
}

#[test]
fn a_dual_stack_node_holds_both_families() {
    let assignment = example::dual_stack(assignment());
    let facts = LocalFacts { host_source_beside: Some(ip("fd00:50::11")), ..facts() };
    let declared = declare(&assignment, &example::all_running(&assignment), &Namespaces::new(), &facts, NOW);
    insta::assert_snapshot!(show::namespaces(&declared));
}

#[test]
fn a_node_without_ipv6_address_has_no_way_of_its_own_to_the_ipv6_mesh() {
    let declared = declared(&example::dual_stack(assignment()));
    let of_host = &declared[&NamespaceName::Host];
    assert!(of_host.links["docker_gwbridge"].addresses.iter().all(|a| a.addr().is_ipv4()));
    assert!(of_host.routes.iter().all(|route| route.destination.addr().is_ipv4()));
    let sandbox = &declared[&NamespaceName::ingress_sandbox()];
    assert!(
        sandbox.links["eth0"].addresses.contains(&net("fd00:5::2/64")),
        "clients from outside are served"
    );
}

#[test]
fn a_network_of_ipv6_only_is_declared_without_ipv4() {
    let mut assignment = example::dual_stack(assignment());
    for network in assignment.networks.values_mut() {
        network.network.subnets.retain(|subnet| subnet.subnet.addr().is_ipv6());
        network.endpoints.values_mut().for_each(|endpoint| endpoint.addresses.retain(IpAddr::is_ipv6));
        network.services.values_mut().for_each(|service| service.vips.retain(IpAddr::is_ipv6));
    }
    for task in assignment.tasks.values_mut() {
        task.attachments.iter_mut().for_each(|a| a.addresses.retain(|net| net.addr().is_ipv6()));
    }
    let declared = declared(&assignment);
    let overlay = &declared[&overlay_name()];
    let addresses: BTreeSet<_> = overlay.links["br0"].addresses.iter().map(ToString::to_string).collect();
    let expected = ["fd00:6::1/64", "fd00:6::2/128", "fd00:6::5/128"].map(str::to_owned);
    assert_eq!(addresses, expected.into());
    assert!(overlay.neighbours.iter().all(|n| n.address.is_ipv6()) && !overlay.neighbours.is_empty());
    assert_eq!(overlay.forwarding.len(), overlay.neighbours.len());
    let client = &declared[&names::sandbox(&example::client_1())];
    assert_eq!(client.links["eth0"].addresses, BTreeSet::from([net("fd00:6::3/64")]));
    assert_eq!(client.links["lo"].addresses, BTreeSet::from([net("fd00:6::2/128")]));
    assert_eq!(client.sysctls["net.ipv6.conf.eth0.disable_ipv6"], "0");
    assert_eq!(client.sysctls["net.ipv6.conf.eth1.disable_ipv6"], "1", "the way out has no IPv6");
}

#[test]
fn where_answers_are_marked_each_node_has_a_way_back() {
    let facts = LocalFacts { steers_by_mark: true, ..facts() };
    let assignment = assignment();
    let of = |facts: &LocalFacts| {
        let declared = declare(&assignment, &Observed::default(), &Namespaces::new(), facts, NOW);
        show::namespaces(&declared)
    };
    let node = &assignment.networks[&example::ingress()].own.as_ref().unwrap().addresses[0].addr();
    let mark = shoal_model::lvs::entry_mark(&[*node].into()).unwrap();
    let lines = [
        format!("rule 90 from 0.0.0.0/0 fwmark {mark} lookup {mark}"),
        format!("route 0.0.0.0/0 via {node} dev eth0 table {mark}"),
        "sysctl net.ipv4.conf.docker_gwbridge.route_localnet=1".to_owned(),
    ];
    let (with, without) = (of(&facts), of(&example::facts()));
    for line in lines {
        assert!(with.contains(&line), "{line} is not in\n{with}");
        assert!(!without.contains(&line), "{line}");
    }
}

#[test]
fn ipv6_tunnels_leave_less_room() {
    let facts = LocalFacts { advertise: ip("fd00::11"), path_mtu: 9000, ..facts() };
    let declared = declare(&assignment(), &Observed::default(), &Namespaces::new(), &facts, NOW);
    assert_eq!(declared[&overlay_name()].links["br0"].mtu, 8930);
    assert_eq!(declared[&NamespaceName::Host].links["docker_gwbridge"].mtu, 1500);
}

#[test]
fn the_users_packet_size_counts_where_it_fits() {
    for (asked, given) in [("1300", 1300), ("9000", 1450), ("0", 1450), ("many", 1450)] {
        let mut assignment = assignment();
        let options = &mut assignment.networks.get_mut(&my_demo()).unwrap().network.spec.options;
        options.insert("com.docker.network.driver.mtu".to_owned(), asked.to_owned());
        assert_eq!(declared(&assignment)[&overlay_name()].links["br0"].mtu, given, "{asked}");
    }
}

#[test]
fn an_internal_network_has_no_way_out() {
    let mut assignment = assignment();
    assignment.networks.get_mut(&my_demo()).unwrap().network.spec.internal = true;
    let declared = declared(&assignment);
    assert_eq!(outside(&declared, &example::client_1()), None);
    assert!(declared[&names::sandbox(&example::client_1())].routes.is_empty());
    assert!(outside(&declared, &example::whoami_1()).is_some(), "it publishes a port");
}

#[test]
fn a_task_without_networks_is_on_the_default_bridge() {
    let id = TaskId::from_random(40);
    let mut assignment = Assignment::default();
    assignment.tasks.insert(id.clone(), task(id.clone(), ServiceId::from_random(1), "plain", Vec::new()));
    let declared = declared(&assignment);
    assert_eq!(outside(&declared, &id).as_deref(), Some("172.17.0.2/16"));
    let port = &declared[&NamespaceName::Host].links[&names::veth(id.as_str(), "docker0")];
    assert_eq!(port.master.as_deref(), Some("docker0"));
}

#[test]
fn a_sandbox_waits_for_all_networks_of_its_task() {
    let mut assignment = assignment();
    assignment.networks.remove(&my_demo());
    let declared = declared(&assignment);
    assert!(!declared.contains_key(&names::sandbox(&example::whoami_1())));
    assert!(declared.contains_key(&NamespaceName::ingress_sandbox()));
}

#[test]
fn an_overlay_is_there_while_a_task_on_it_is_wanted_or_runs() {
    let mut assignment = assignment();
    let set = |assignment: &mut Assignment, desired, known| {
        for task in assignment.tasks.values_mut() {
            (task.desired, task.known) = (desired, known);
        }
    };
    let there = |assignment: &Assignment, observed: &Observed| {
        let declared = declare(assignment, observed, &Namespaces::new(), &facts(), NOW);
        let sandboxes =
            assignment.tasks.keys().filter(|id| declared.contains_key(&names::sandbox(id))).count();
        assert_eq!(declared.contains_key(&overlay_name()), sandboxes > 0);
        sandboxes > 0
    };
    let ended = |code| {
        let containers = assignment.tasks.keys().map(|id| (id.clone(), example::exited(id, code))).collect();
        Observed { containers, ..Observed::default() }
    };
    let (nothing, running, ended) = (Observed::default(), example::all_running(&assignment), ended(0));
    set(&mut assignment, TaskState::Ready, TaskState::Assigned);
    assert!(there(&assignment, &nothing));
    set(&mut assignment, TaskState::Shutdown, TaskState::Running);
    assert!(there(&assignment, &running), "a container that is stopping still needs its network");
    assert!(!there(&assignment, &ended));
    assert!(!there(&assignment, &nothing));
    set(&mut assignment, TaskState::Running, TaskState::Running);
    assert!(!there(&assignment, &nothing), "a lost container does not come back");
    set(&mut assignment, TaskState::Running, TaskState::Failed);
    assert!(!there(&assignment, &nothing));
}

/// So many tasks without networks of the swarm's but `my-demo`, with ids in the order of their numbers.
fn many(count: u128) -> (Assignment, Vec<TaskId>) {
    let mut assignment = assignment();
    assignment.tasks.clear();
    let ids: Vec<TaskId> = (0..count).map(|n| TaskId::from_random(100 + n)).collect();
    for id in &ids {
        let attachments = vec![attachment(my_demo(), "10.0.1.99/24")];
        assignment.tasks.insert(id.clone(), task(id.clone(), example::client(), "client", attachments));
    }
    (assignment, ids)
}

#[test]
fn sandboxes_keep_their_outside_address_and_new_ones_take_the_lowest_free() {
    let (mut assignment, ids) = many(3);
    let first = declared(&assignment);
    let addresses: Vec<_> = ids.iter().map(|id| outside(&first, id).unwrap()).collect();
    assert_eq!(addresses, ["172.18.0.3/16", "172.18.0.4/16", "172.18.0.5/16"]);

    assignment.tasks.remove(&ids[0]);
    let next = TaskId::from_random(1);
    let attachments = vec![attachment(my_demo(), "10.0.1.98/24")];
    assignment.tasks.insert(next.clone(), task(next.clone(), example::client(), "client", attachments));
    let second = declare(&assignment, &Observed::default(), &first, &facts(), NOW);
    assert_eq!(outside(&second, &ids[1]).as_deref(), Some("172.18.0.4/16"));
    assert_eq!(outside(&second, &ids[2]).as_deref(), Some("172.18.0.5/16"));
    assert_eq!(
        outside(&second, &next).as_deref(),
        Some("172.18.0.6/16"),
        "the first one's sandbox is still there"
    );

    let mut later = second.clone();
    later.remove(&names::sandbox(&next));
    let third = declare(&assignment, &Observed::default(), &later, &facts(), NOW);
    assert_eq!(outside(&third, &next).as_deref(), Some("172.18.0.3/16"));
}

#[test]
fn two_sandboxes_with_one_address_are_parted() {
    let (assignment, ids) = many(2);
    let mut seen = declared(&assignment);
    let stolen = net("172.18.0.3/16");
    for id in &ids {
        for link in seen.get_mut(&names::sandbox(id)).unwrap().links.values_mut() {
            if matches!(link.kind, LinkKind::Veth { peer_namespace: NamespaceName::Host, .. }) {
                link.addresses = BTreeSet::from([stolen]);
            }
        }
    }
    let declared = declare(&assignment, &Observed::default(), &seen, &facts(), NOW);
    assert_eq!(outside(&declared, &ids[0]).as_deref(), Some("172.18.0.3/16"));
    assert_eq!(outside(&declared, &ids[1]).as_deref(), Some("172.18.0.4/16"));
}

#[test]
fn a_full_bridge_leaves_further_sandboxes_out() {
    let (assignment, ids) = many(4);
    let facts = LocalFacts { gateway_subnet: net("172.18.0.0/29"), ..facts() };
    let declared = declare(&assignment, &Observed::default(), &Namespaces::new(), &facts, NOW);
    let given: Vec<_> = ids.iter().filter_map(|id| outside(&declared, id)).collect();
    assert_eq!(given, ["172.18.0.3/29", "172.18.0.4/29", "172.18.0.5/29", "172.18.0.6/29"]);
    let (assignment, ids) = many(5);
    let declared = declare(&assignment, &Observed::default(), &Namespaces::new(), &facts, NOW);
    assert!(!declared.contains_key(&names::sandbox(&ids[4])));
}

#[test]
fn host_ports_lead_to_running_containers_and_the_wanted_one_wins() {
    let (mut assignment, ids) = many(2);
    let port = PortConfig {
        published_port: 8081,
        target_port: 80,
        publish_mode: Some(PublishMode::Host),
        ..PortConfig::default()
    };
    for task in assignment.tasks.values_mut() {
        task.host_ports = vec![port.clone()];
    }
    let ports = |assignment: &Assignment, observed: &Observed| -> Vec<FirewallRule> {
        let declared = declare(assignment, observed, &Namespaces::new(), &facts(), NOW);
        let rules = declared[&NamespaceName::Host].firewall.clone();
        rules.into_iter().filter(|r| matches!(r, FirewallRule::HostPort { .. })).collect()
    };
    assert_eq!(ports(&assignment, &Observed::default()), [], "nobody runs");
    let observed = example::all_running(&assignment);
    assignment.tasks.get_mut(&ids[0]).unwrap().desired = TaskState::Shutdown;
    let expected = FirewallRule::HostPort {
        protocol: Protocol::Tcp,
        published: 8081,
        address: ip("172.18.0.4"),
        target: 80,
        client: None,
        at: None,
    };
    assert_eq!(ports(&assignment, &observed), [expected]);
}

#[test]
fn host_ports_are_open_to_those_who_may_use_them_and_closed_behind_them() {
    let (mut assignment, _) = many(1);
    let port = PortConfig {
        published_port: 8081,
        target_port: 80,
        publish_mode: Some(PublishMode::Host),
        ..PortConfig::default()
    };
    for task in assignment.tasks.values_mut() {
        task.host_ports = vec![port.clone()];
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        task.service_labels = [
            label("shoal.publish.allow", "10.0.0.0/8,192.168.50.100"),
            label("shoal.publish.on", "192.168.50.11"),
        ]
        .into();
    }
    let observed = example::all_running(&assignment);
    let declared = declare(&assignment, &observed, &Namespaces::new(), &facts(), NOW);
    let shown: Vec<String> =
        declared[&NamespaceName::Host].firewall.iter().map(crate::show::firewall).collect();
    let of_port: Vec<_> = shown.iter().filter(|text| text.contains("8081")).collect();
    assert_eq!(
        of_port,
        [
            "tcp port 8081 to 172.18.0.3:80 from 10.0.0.0/8 at 192.168.50.11",
            "tcp port 8081 to 172.18.0.3:80 from 192.168.50.100/32 at 192.168.50.11",
            "tcp port 8081 closed at 192.168.50.11",
        ]
    );
}

#[test]
fn what_the_user_set_in_the_sandbox_is_left_alone() {
    let mut assignment = assignment();
    let task = assignment.tasks.get_mut(&example::client_1()).unwrap();
    let spec = task.spec.container_spec.as_mut().unwrap();
    spec.sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    let declared = declared(&assignment);
    let sysctls = &declared[&names::sandbox(&example::client_1())].sysctls;
    assert!(!sysctls.contains_key("net.ipv4.ip_forward"));
    assert!(sysctls.contains_key("net.ipv4.ip_unprivileged_port_start"));
}

#[test]
fn two_words_on_one_address_come_to_rest() {
    let mut assignment = assignment();
    let network = assignment.networks.get_mut(&my_demo()).unwrap();
    for holder in ["a", "b"] {
        let endpoint = example::endpoint(holder, &my_demo(), "10.0.1.50", example::there());
        network.endpoints.insert(holder.to_owned(), endpoint);
    }
    let declared = declared(&assignment);
    let of_it = declared[&overlay_name()].neighbours.iter().filter(|n| n.address == ip("10.0.1.50"));
    assert_eq!(of_it.count(), 1);
}

#[test]
fn a_stopping_container_keeps_its_sandbox() {
    let assignment = assignment();
    let mut observed = example::all_running(&assignment);
    for container in observed.containers.values_mut() {
        *container = ObservedContainer { stopping_since: Some(NOW), ..container.clone() };
    }
    let declared = declare(&assignment, &observed, &Namespaces::new(), &facts(), NOW);
    assert!(declared.contains_key(&names::sandbox(&example::whoami_1())));
}
