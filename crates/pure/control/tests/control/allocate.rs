//! What is handed out.

use crate::bench::{Bench, node_id, on, publish, spec};
use ipnet::IpNet;
use shoal_control::{AllocationTrouble, Report};
use shoal_model::network::{FIRST_VNI, NetworkSpec, SubnetSpec};
use shoal_model::spec::{EndpointMode, PortConfig, PublishMode};
use shoal_model::{Mac, TaskState};
use std::collections::BTreeSet;

fn named(name: &str) -> NetworkSpec {
    NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() }
}

fn with_subnet(name: &str, subnet: &str) -> NetworkSpec {
    let subnet = SubnetSpec { subnet: subnet.parse().unwrap(), gateway: None, range: None };
    NetworkSpec { subnets: vec![subnet], ..named(name) }
}

#[test]
fn the_mesh_is_laid_out_as_docker_does() {
    let mut bench = Bench::new(3);
    bench.settle();
    let ingress = bench.state.ingress_network().unwrap();
    assert_eq!((ingress.subnets[0].subnet.to_string().as_str(), ingress.vni), ("10.0.0.0/24", FIRST_VNI));
    assert_eq!(ingress.subnets[0].gateway.to_string(), "10.0.0.1");
    for (n, address) in [(0, "10.0.0.2/24"), (1, "10.0.0.3/24"), (2, "10.0.0.4/24")] {
        let own = &bench.state.nodes()[&node_id(n)].attachments[&ingress.id];
        assert_eq!(own.addresses[0].to_string(), address);
        assert_eq!(own.mac, Mac::of_endpoint(node_id(n).as_str(), ingress.id.as_str()));
    }
}

#[test]
fn the_mesh_keeps_clear_of_the_hosts_routes() {
    let mut bench = Bench::new(2);
    bench.set_node(1, |node| {
        node.description.routes = vec!["10.0.0.0/15".parse().unwrap(), "0.0.0.0/0".parse().unwrap()];
    });
    bench.settle();
    assert_eq!(bench.state.ingress_network().unwrap().subnets[0].subnet.to_string(), "10.2.0.0/24");
}

#[test]
fn a_used_up_pool_is_reported_and_waited_out() {
    let mut bench = Bench::new(1);
    bench.set_node(0, |node| node.description.routes = vec!["10.0.0.0/8".parse().unwrap()]);
    let plan = bench.plan();
    let ingress = bench.state.ingress_network().unwrap().id.clone();
    let trouble = Report::Network { network: ingress, trouble: AllocationTrouble::NoSubnet };
    assert!(plan.report.contains(&trouble));
    let web = bench.create(publish(spec("web", 1), 8000));
    bench.settle();
    assert_eq!(bench.states_of(&web), [TaskState::New]);
    assert_eq!(bench.active(&web)[0].status.err, "waiting for the service's addresses and ports");
    bench.set_node(0, |node| node.description.routes.clear());
    bench.run();
    assert_eq!(bench.states_of(&web), [TaskState::Running]);
}

#[test]
fn a_publishing_service_has_addresses_on_the_mesh_and_on_its_networks() {
    let mut bench = Bench::new(1);
    let my_demo = bench.network(named("my-demo"));
    let web = bench.create(on(publish(spec("web", 1), 8000), "my-demo"));
    bench.run();
    let ingress = bench.state.ingress_network().unwrap().id.clone();
    let vips: Vec<_> = bench.service(&web).endpoint.virtual_ips;
    assert_eq!(vips.iter().map(|v| &v.network).collect::<Vec<_>>(), [&ingress, &my_demo]);
    let task = bench.active(&web).remove(0);
    let networks: Vec<_> = task.attachments.iter().map(|a| &a.network).collect();
    assert_eq!(networks, [&ingress, &my_demo]);
    assert_eq!(task.address_on(&my_demo).unwrap().to_string(), "10.0.1.3/24");
    assert_eq!(bench.service(&web).vips_on(&my_demo).next().unwrap().to_string(), "10.0.1.2/24");
}

#[test]
fn dns_round_robin_needs_no_virtual_address() {
    let mut bench = Bench::new(1);
    bench.network(named("net"));
    let mut rr = on(spec("rr", 1), "net");
    rr.endpoint_spec =
        Some(shoal_model::spec::EndpointSpec { mode: Some(EndpointMode::Dnsrr), ports: vec![] });
    let rr = bench.create(rr);
    bench.run();
    let endpoint = bench.service(&rr).endpoint;
    assert_eq!((endpoint.mode, endpoint.virtual_ips.len()), (Some(EndpointMode::Dnsrr), 0));
    assert_eq!(bench.active(&rr)[0].attachments.len(), 1);
}

#[test]
fn a_service_keeps_its_addresses_and_ports_through_updates() {
    let mut bench = Bench::new(1);
    bench.network(named("net"));
    let web = bench.create(on(publish(spec("web", 1), 0), "net"));
    bench.run();
    let before = bench.service(&web).endpoint;
    assert_eq!(before.ports[0].published_port, 30_000);
    bench.update(&web, |spec| {
        let ports = &mut spec.endpoint_spec.as_mut().unwrap().ports;
        ports.push(PortConfig { target_port: 81, ..PortConfig::default() });
    });
    bench.settle();
    let after = bench.service(&web).endpoint;
    assert_eq!(after.virtual_ips, before.virtual_ips);
    assert_eq!(after.ports.iter().map(|p| p.published_port).collect::<Vec<_>>(), [30_000, 30_001]);
    bench.update(&web, |spec| spec.endpoint_spec.as_mut().unwrap().ports.clear());
    bench.settle();
    assert_eq!(bench.service(&web).endpoint.virtual_ips, before.virtual_ips[1..], "the mesh's is given back");
}

#[test]
fn publishing_first_needs_new_tasks_publishing_more_does_not() {
    let mut bench = Bench::new(1);
    let web = bench.create(spec("web", 1));
    bench.run();
    let unpublished = bench.active(&web);
    bench.update(&web, |spec| *spec = publish(spec.clone(), 8000));
    bench.run();
    let published = bench.active(&web);
    assert_ne!(unpublished[0].id, published[0].id);
    bench.update(&web, |spec| {
        let ports = &mut spec.endpoint_spec.as_mut().unwrap().ports;
        ports.push(PortConfig { target_port: 80, published_port: 8001, ..PortConfig::default() });
    });
    bench.run();
    assert_eq!(bench.active(&web)[0].id, published[0].id);
}

#[test]
fn an_address_given_back_comes_last() {
    let mut bench = Bench::new(1);
    bench.network(with_subnet("small", "192.168.0.0/28"));
    let web = bench.create(on(spec("web", 1), "small"));
    bench.run();
    let mut seen = BTreeSet::new();
    for _ in 0..11 {
        let task = bench.active(&web).remove(0);
        assert!(seen.insert(task.attachments[0].addresses[0]), "no address twice while others are free");
        bench.update(&web, |spec| spec.task_template.force_update += 1);
        bench.run();
    }
}

#[test]
fn a_full_network_says_so_in_the_tasks_status() {
    let mut bench = Bench::new(1);
    bench.network(with_subnet("tiny", "192.168.0.0/29"));
    let web = bench.create(on(spec("web", 9), "tiny"));
    bench.run();
    let waiting: Vec<_> =
        bench.active(&web).into_iter().filter(|t| t.status.state == TaskState::New).collect();
    assert_eq!(waiting.len(), 5, "six hosts, less the gateway and the service");
    assert!(waiting.iter().all(|task| task.status.err == "no free address on network tiny"));
    bench.update(&web, |spec| spec.mode.replicated.as_mut().unwrap().replicas = Some(4));
    bench.run();
    assert_eq!(bench.states_of(&web), [TaskState::Running; 4]);
}

#[test]
fn host_ports_without_a_number_get_one_each() {
    let mut bench = Bench::new(1);
    let mut spec = publish(spec("web", 2), 0);
    spec.endpoint_spec.as_mut().unwrap().ports[0].publish_mode = Some(PublishMode::Host);
    let web = bench.create(spec);
    bench.run();
    let ports: Vec<_> = bench.active(&web).iter().map(|task| task.host_ports[0].published_port).collect();
    assert_eq!(ports, [30_000, 30_001]);
    assert_eq!(bench.active(&web)[0].attachments.len(), 0, "they do not need the mesh");
}

#[test]
fn vnis_go_upwards() {
    let mut bench = Bench::new(1);
    let first = bench.network(named("a"));
    bench.settle();
    let second = bench.network(named("b"));
    bench.settle();
    bench.remove(first);
    let third = bench.network(named("c"));
    bench.settle();
    let vni = |id| bench.state.networks()[id].vni;
    assert_eq!((vni(&second), vni(&third)), (4098, 4099));
}

#[test]
fn ipv6_comes_beside_ipv4() {
    let mut bench = Bench::new(1);
    let dual = bench.network(NetworkSpec { enable_ipv6: true, ..named("dual") });
    let web = bench.create(on(spec("web", 1), "dual"));
    bench.run();
    let subnets = &bench.state.networks()[&dual].subnets;
    assert!(subnets[0].subnet.addr().is_ipv4() && subnets[1].subnet.addr().is_ipv6());
    assert_eq!(subnets[1].subnet.prefix_len(), 64);
    let task = bench.active(&web).remove(0);
    let families: Vec<_> = task.attachments[0].addresses.iter().map(|a| a.addr().is_ipv4()).collect();
    assert_eq!(families, [true, false]);
    assert_eq!(bench.service(&web).endpoint.virtual_ips.len(), 2);
}

fn ipv6(name: &str) -> NetworkSpec {
    NetworkSpec { enable_ipv6: true, ..named(name) }
}

#[test]
fn without_an_ipv6_pool_the_swarm_makes_its_own() {
    let mut bench = Bench::new(1);
    let first = bench.network(ipv6("first"));
    let second = bench.network(ipv6("second"));
    bench.settle();
    let subnet = |id| bench.state.networks()[id].subnets[1].subnet;
    let site: IpNet = "fd00::/8".parse().unwrap();
    assert!(site.contains(&subnet(&first)), "{} is a unique local subnet", subnet(&first));
    let of_one_site = |net: IpNet| IpNet::new(net.addr(), 48).unwrap().trunc();
    assert_eq!(of_one_site(subnet(&first)), of_one_site(subnet(&second)));
    assert_ne!(subnet(&first), subnet(&second));
}

#[test]
fn an_ipv6_pool_that_was_named_replaces_the_swarms_own() {
    let mut bench = Bench::with_pools(1, &["10.9.0.0/16", "2001:db8:0:fffc::/62"]);
    let mut network = |name: &str| {
        bench.settle();
        bench.network(ipv6(name))
    };
    let (a, b, c, d) = (network("a"), network("b"), network("c"), network("d"));
    let plan = bench.plan();
    let trouble = Report::Network { network: d.clone(), trouble: AllocationTrouble::NoSubnet };
    assert!(plan.report.contains(&trouble), "{:?}", plan.report);
    bench.settle();
    let subnets = |id| -> Vec<String> {
        bench.state.networks()[id].subnets.iter().map(|s| s.subnet.to_string()).collect()
    };
    assert_eq!(subnets(&a), ["10.9.1.0/24", "2001:db8:0:fffd::/64"], "the mesh has the first");
    assert_eq!(subnets(&b), ["10.9.2.0/24", "2001:db8:0:fffe::/64"]);
    assert_eq!(subnets(&c), ["10.9.3.0/24", "2001:db8:0:ffff::/64"]);
    assert!(subnets(&d).is_empty());
}

#[test]
fn a_network_of_ipv6_only_hands_out_nothing_else() {
    let mut bench = Bench::new(1);
    let six = bench.network(NetworkSpec { enable_ipv4: false, ..ipv6("six") });
    let web = bench.create(on(spec("web", 1), "six"));
    bench.run();
    let subnets = &bench.state.networks()[&six].subnets;
    assert_eq!(subnets.iter().map(|s| s.subnet.addr().is_ipv6()).collect::<Vec<_>>(), [true]);
    let task = bench.active(&web).remove(0);
    assert!(task.attachments[0].addresses.iter().all(|net| net.addr().is_ipv6()));
    assert_eq!(bench.service(&web).endpoint.virtual_ips.len(), 1);
}

#[test]
fn one_family_that_is_used_up_leaves_the_other_alone() {
    let mut bench = Bench::new(1);
    let small = bench.network(NetworkSpec {
        subnets: ["192.168.0.0/28", "fd00:1::/126"]
            .map(|subnet| SubnetSpec { subnet: subnet.parse().unwrap(), gateway: None, range: None })
            .into(),
        ..ipv6("small")
    });
    let web = bench.create(on(spec("web", 4), "small"));
    bench.run();
    let waiting: Vec<_> =
        bench.active(&web).into_iter().filter(|task| task.status.state == TaskState::New).collect();
    assert_eq!(waiting.len(), 3, "fd00:1::2 is the service's, fd00:1::3 a task's, and that is all");
    assert!(waiting.iter().all(|task| task.status.err == "no free address on network small"));
    let before = bench.state.networks()[&small].subnets.clone();
    assert!(bench.plan().changes.is_empty(), "nothing moves while they wait");
    bench.run();
    assert_eq!(bench.state.networks()[&small].subnets, before);
}

#[test]
fn the_mesh_has_ipv6_where_the_pools_have() {
    let mut bench = Bench::new(2);
    bench.settle();
    let old = bench.state.ingress_network().unwrap().id.clone();
    assert_eq!(bench.state.ingress_network().unwrap().subnets.len(), 1);
    // As `docker network rm ingress` and `docker network create --ingress --ipv6` do.
    bench.remove(old);
    bench.settle();
    let mesh = bench.network(NetworkSpec { ingress: true, ..ipv6("mesh") });
    let web = bench.create(publish(spec("web", 1), 8000));
    bench.run();
    for n in 0..2 {
        let node = &bench.state.nodes()[&node_id(n)];
        assert_eq!(node.attachments.keys().collect::<Vec<_>>(), [&mesh]);
        let families: Vec<_> = node.attachments[&mesh].addresses.iter().map(|a| a.addr().is_ipv4()).collect();
        assert_eq!(families, [true, false]);
    }
    let told = bench.assignment(0).networks.remove(&mesh).unwrap();
    assert_eq!(told.own.unwrap().addresses.len(), 2);
    assert!(told.endpoints.values().all(|endpoint| endpoint.addresses.len() == 2));
    assert_eq!(told.services[&web].vips.len(), 2);
    assert!(told.services[&web].tasks.values().all(|task| task.addresses.len() == 2));
}

#[test]
fn a_swarm_founded_with_an_ipv6_pool_has_a_mesh_of_both_families() {
    let mut bench = Bench::with_pools(1, &["10.0.0.0/8", "fd42::/48"]);
    bench.settle();
    let ingress = bench.state.ingress_network().unwrap();
    let subnets: Vec<_> = ingress.subnets.iter().map(|s| s.subnet.to_string()).collect();
    assert_eq!(subnets, ["10.0.0.0/24", "fd42::/64"]);
    let own: Vec<_> = bench.state.nodes()[&node_id(0)].attachments[&ingress.id]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(own, ["10.0.0.2/24", "fd42::2/64"]);
}
