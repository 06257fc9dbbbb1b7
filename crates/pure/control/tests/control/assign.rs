//! What one node should hold.

use crate::bench::{Bench, node_id, on, publish, spec};
use shoal_model::network::NetworkSpec;
use shoal_model::{Mac, NetworkId, TaskState};
use shoal_store::Object;

/// Two nodes, a published service on network `net` with a task on each.
fn served() -> (Bench, shoal_model::ServiceId, NetworkId) {
    let mut bench = Bench::new(3);
    bench.drain(2);
    let net = bench.network(NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() });
    let web = bench.create(on(publish(spec("web", 2), 8000), "net"));
    bench.run();
    (bench, web, net)
}

#[test]
fn a_node_is_told_its_tasks_and_their_networks() {
    let (bench, web, net) = served();
    let ingress = bench.state.ingress_network().unwrap().id.clone();
    let told = bench.assignment(0);
    assert_eq!(told.version, bench.state.index());
    assert_eq!(told.tasks.len(), 1);
    let task = told.tasks.values().next().unwrap();
    assert_eq!(
        (task.service_name.as_str(), task.desired, task.known),
        ("web", TaskState::Running, TaskState::Running)
    );
    assert_eq!(told.networks.keys().collect::<std::collections::BTreeSet<_>>(), [&ingress, &net].into());
    let vips: Vec<_> = bench.service(&web).vips_on(&net).map(|vip| vip.addr()).collect();
    assert_eq!(told.networks[&net].services[&web].vips, vips);
    assert_eq!(told.networks[&net].services[&web].ports, []);
    assert_eq!(told.networks[&ingress].services[&web].ports[0].published_port, 8000);
    assert_eq!(told.networks[&ingress].data_path_port, 4789);
}

#[test]
fn a_node_without_tasks_takes_part_in_the_mesh_all_the_same() {
    let (bench, web, _) = served();
    let ingress = bench.state.ingress_network().unwrap().id.clone();
    let told = bench.assignment(2);
    assert_eq!(told.tasks.len(), 0);
    assert_eq!(told.networks.keys().collect::<Vec<_>>(), [&ingress]);
    let mesh = &told.networks[&ingress];
    assert!(mesh.own.is_some());
    assert_eq!(mesh.services[&web].tasks.len(), 2);
    assert_eq!(mesh.endpoints.len(), 3 + 2, "every node's and every task's");
    assert_eq!(mesh.peers.len(), 3);
}

#[test]
fn endpoints_carry_the_mac_of_their_holder_and_the_tunnel_of_their_node() {
    let (bench, web, net) = served();
    let task = bench.active(&web).remove(0);
    let node = task.node.clone().unwrap();
    let endpoint = &bench.assignment(0).networks[&net].endpoints[task.id.as_str()];
    assert_eq!(endpoint.mac, Mac::of_endpoint(task.id.as_str(), net.as_str()));
    assert_eq!(endpoint.addresses, [task.address_on(&net).unwrap().addr()]);
    let address = &bench.state.nodes()[&node].status.addr;
    assert_eq!((&endpoint.node, endpoint.tunnel.to_string().as_str()), (&node, address.as_str()));
}

fn weights(bench: &Bench, web: &shoal_model::ServiceId, net: &NetworkId) -> Vec<u32> {
    bench.assignment(0).networks[net].services[web].tasks.values().map(|task| task.weight).collect()
}

#[test]
fn only_tasks_that_serve_have_a_share() {
    let (mut bench, web, net) = served();
    assert_eq!(weights(&bench, &web, &net), [1, 1]);
    bench.liveness.suspected.insert(node_id(1));
    let mut after = weights(&bench, &web, &net);
    after.sort_unstable();
    assert_eq!(after, [0, 1], "a suspected node's tasks keep what they have and get nothing new");
    bench.liveness.suspected.insert(node_id(0));
    assert_eq!(weights(&bench, &web, &net), [1, 1], "suspicion alone takes nobody the last servers");
    bench.liveness.suspected.clear();
    bench.update(&web, |spec| spec.mode.replicated.as_mut().unwrap().replicas = Some(1));
    bench.settle();
    let mut after = weights(&bench, &web, &net);
    after.sort_unstable();
    assert_eq!(after, [0, 1], "one drains");
    bench.run();
    let told = bench.assignment(2);
    let ingress = bench.state.ingress_network().unwrap().id.clone();
    assert_eq!(told.networks[&ingress].services[&web].tasks.len(), 1, "it has stopped");
}

#[test]
fn a_share_is_what_the_labels_ask_for_and_the_containers_label_wins() {
    let (mut bench, web, net) = served();
    let of_node = |name: &str| ("shoal.lb.weight".to_owned(), name.to_owned());
    bench.set_node(0, |node| _ = node.spec.labels.insert("cores".to_owned(), "16".to_owned()));
    bench.update(&web, |spec| spec.labels.extend([of_node("node.labels.cores")]));
    bench.settle();
    let mut shares = weights(&bench, &web, &net);
    shares.sort_unstable();
    assert_eq!(shares, [1, 16], "a node without the label counts once");
    bench.update(&web, |spec| {
        let container = spec.task_template.container_spec.as_mut().unwrap();
        container.labels.extend([of_node("3")]);
    });
    bench.run();
    assert_eq!(weights(&bench, &web, &net).into_iter().filter(|weight| *weight > 0).max(), Some(3));
    let drained = bench.active(&web).remove(0).node.clone().unwrap();
    bench.liveness.suspected.insert(drained);
    assert!(weights(&bench, &web, &net).contains(&0), "weights do not keep a doubtful task in the rings");
}

#[test]
fn nodes_are_told_the_connections_of_the_whole_cluster() {
    let (mut bench, web, net) = served();
    let task = bench.active(&web).remove(0).id.clone();
    for (node, count) in [(0, 3), (2, 4)] {
        let given = [(web.clone(), [(task.clone(), count)].into())].into();
        assert!(bench.liveness.connections.report(&node_id(node), given));
    }
    let ingress = bench.state.ingress_network().unwrap().id.clone();
    for network in [&net, &ingress] {
        let tasks = &bench.assignment(0).networks[network].services[&web].tasks;
        assert_eq!(tasks[&task].connections, 7);
        assert_eq!(tasks.values().map(|task| task.connections).sum::<u64>(), 7);
    }
}

#[test]
fn a_task_has_no_share_before_it_runs() {
    let mut bench = Bench::new(1);
    let net = bench.network(NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() });
    let web = bench.create(on(spec("web", 1), "net"));
    bench.settle();
    let told = bench.assignment(0);
    assert_eq!(told.networks[&net].endpoints.len(), 1, "its endpoint is there already");
    assert!(told.networks[&net].services[&web].tasks.is_empty());
}

#[test]
fn endpoints_of_a_node_that_is_down_are_gone() {
    let (mut bench, web, net) = served();
    bench.lose(1);
    bench.settle();
    let told = bench.assignment(0);
    let nodes: Vec<_> = told.networks[&net].endpoints.values().map(|e| &e.node).collect();
    assert!(nodes.iter().all(|node| **node == node_id(0)), "{nodes:?}");
    let shares = &told.networks[&net].services[&web].tasks;
    assert!(shares.values().all(|task| task.node == node_id(0)), "what still goes there is cut");
}

#[test]
fn secrets_go_to_the_nodes_that_need_them_only() {
    let mut bench = Bench::new(2);
    bench.drain(1);
    let data = shoal_model::object::DataSpec { name: "key".to_owned(), data: vec![1], ..Default::default() };
    let secret = shoal_control::admit::create_secret(&bench.state, data, bench.now, &mut bench.rng).unwrap();
    let id = secret.id.clone();
    bench.write(vec![shoal_store::Change::Create(Object::from(secret))]).unwrap();
    let mut spec = spec("web", 1);
    spec.task_template.container_spec.as_mut().unwrap().secrets = vec![shoal_model::spec::SecretReference {
        file: Some(shoal_model::spec::FileTarget { name: "key".to_owned(), ..Default::default() }),
        secret_id: id.to_string(),
        secret_name: "key".to_owned(),
    }];
    bench.create(spec);
    bench.run();
    assert_eq!(bench.assignment(0).secrets.keys().collect::<Vec<_>>(), [&id]);
    assert!(bench.assignment(1).secrets.is_empty());
}

#[test]
fn an_unknown_node_is_told_nothing() {
    let (bench, ..) = served();
    let told = bench.assignment(77);
    assert!(told.tasks.is_empty() && told.networks.is_empty());
}
