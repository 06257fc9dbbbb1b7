//! Where tasks go, and why not.

use crate::bench::{Bench, node_id, publish, seconds, spec};
use shoal_control::Report;
use shoal_model::TaskState;
use shoal_model::node::{Availability, EnginePlugin, NodeState};
use shoal_model::spec::{
    Mount, Placement, PlacementPreference, Platform, PublishMode, Reservations, ResourceRequirements,
    ServiceSpec, SpreadOver,
};

fn placed(placement: Placement) -> ServiceSpec {
    let mut spec = spec("web", 1);
    spec.task_template.placement = Some(placement);
    spec
}

fn reserving(nano_cpus: i64, memory_bytes: i64) -> ServiceSpec {
    let reservations = Reservations { nano_cpus, memory_bytes, ..Reservations::default() };
    let mut spec = spec("web", 1);
    spec.task_template.resources =
        Some(ResourceRequirements { reservations: Some(reservations), limits: None });
    spec
}

/// Why a service's only task has no node, or that it has one.
fn reason(bench: &mut Bench, spec: ServiceSpec) -> String {
    let id = bench.create(spec);
    bench.settle();
    bench.active(&id)[0].status.err.clone()
}

#[test]
fn every_filter_says_why() {
    let constraint =
        |text: &str| placed(Placement { constraints: vec![text.to_owned()], ..Placement::default() });
    let platform = |architecture: &str, os: &str| {
        let platform = Platform { architecture: architecture.to_owned(), os: os.to_owned() };
        placed(Placement { platforms: vec![platform], ..Placement::default() })
    };
    let mut plugin = spec("web", 1);
    plugin.task_template.container_spec.as_mut().unwrap().mounts = vec![Mount {
        target: "/data".to_owned(),
        volume_options: Some(serde_json::json!({"DriverConfig": {"Name": "nfs"}})),
        ..Mount::default()
    }];
    let prepare = |bench: &mut Bench| {
        bench.set_node(0, |node| {
            node.description.platform =
                Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() };
        });
    };
    for (spec, expected) in [
        (spec("web", 1), ""),
        (reserving(4_000_000_000, 4 << 30), ""),
        (reserving(4_000_000_001, 0), "no suitable node (insufficient resources on 1 node)"),
        (reserving(0, (4 << 30) + 1), "no suitable node (insufficient resources on 1 node)"),
        (constraint("node.role == manager"), ""),
        (
            constraint("node.role != manager"),
            "no suitable node (scheduling constraints not satisfied on 1 node)",
        ),
        (platform("amd64", "linux"), ""),
        (platform("", ""), ""),
        (platform("arm64", "linux"), "no suitable node (unsupported platform on 1 node)"),
        (plugin, "no suitable node (missing plugin on 1 node)"),
    ] {
        let mut bench = Bench::new(1);
        prepare(&mut bench);
        assert_eq!(reason(&mut bench, spec), expected);
    }
}

#[test]
fn a_volume_driver_that_the_node_has_is_enough() {
    let mut bench = Bench::new(1);
    bench.set_node(0, |node| {
        let plugin = EnginePlugin { kind: "Volume".to_owned(), name: "nfs".to_owned() };
        node.description.engine.plugins = vec![plugin];
    });
    let mut with_volume = spec("web", 1);
    with_volume.task_template.container_spec.as_mut().unwrap().mounts = vec![Mount {
        target: "/data".to_owned(),
        volume_options: Some(serde_json::json!({"DriverConfig": {"Name": "nfs"}})),
        ..Mount::default()
    }];
    assert_eq!(reason(&mut bench, with_volume), "");
}

#[test]
fn nodes_that_take_no_tasks_are_counted() {
    let mut bench = Bench::new(3);
    bench.drain(0);
    bench.set_node(1, |node| node.spec.availability = Availability::Pause);
    bench.set_node(2, |node| node.status.state = NodeState::Unknown);
    bench.liveness.last_heartbeat.remove(&node_id(2));
    assert_eq!(reason(&mut bench, spec("web", 1)), "no suitable node (3 nodes not available for new tasks)");
}

#[test]
fn what_is_set_aside_is_set_aside_until_the_task_has_stopped() {
    let mut bench = Bench::new(1);
    let mut half = reserving(0, 3 << 30);
    half.name = "first".to_owned();
    let first = bench.create(half);
    bench.run();
    assert_eq!(
        reason(&mut bench, reserving(0, 3 << 30)),
        "no suitable node (insufficient resources on 1 node)"
    );
    bench.remove(first);
    bench.run();
    assert!(bench.state.tasks().values().all(|task| task.status.state == TaskState::Running));
}

#[test]
fn a_host_port_is_held_by_one_task_of_a_node() {
    let mut bench = Bench::new(2);
    let mut spec = publish(spec("web", 3), 9000);
    spec.endpoint_spec.as_mut().unwrap().ports[0].publish_mode = Some(PublishMode::Host);
    let web = bench.create(spec);
    bench.run();
    let nodes = bench.nodes_of(&web);
    assert_eq!(nodes.iter().filter(|node| *node == "-").count(), 1);
    let waiting = bench.active(&web).into_iter().find(|task| task.node.is_none()).unwrap();
    assert_eq!(waiting.status.err, "no suitable node (host-mode port already in use on 2 nodes)");
    let plan = bench.plan();
    let reported = Report::TaskWaits { task: waiting.id.clone(), reason: waiting.status.err.clone() };
    assert_eq!((plan.changes.len(), plan.report), (0, vec![reported]));
}

#[test]
fn a_node_takes_so_many_replicas_and_no_more() {
    let mut bench = Bench::new(2);
    let mut spec = placed(Placement { max_replicas: 2, ..Placement::default() });
    spec.mode.replicated.as_mut().unwrap().replicas = Some(5);
    let web = bench.create(spec);
    bench.run();
    let waiting = bench.active(&web).into_iter().filter(|task| task.node.is_none());
    let reasons: Vec<_> = waiting.map(|task| task.status.err.clone()).collect();
    assert_eq!(reasons, ["no suitable node (max replicas per node limit exceed)"]);
}

#[test]
fn tasks_spread_by_service_first_and_by_load_second() {
    let mut bench = Bench::new(3);
    let mut one = spec("one", 2);
    one.task_template.placement =
        Some(Placement { constraints: vec!["node.hostname != n2".to_owned()], ..Placement::default() });
    bench.create(one);
    bench.run();
    let web = bench.create(spec("web", 4));
    bench.run();
    let nodes = bench.nodes_of(&web);
    let count = |name: &str| nodes.iter().filter(|node| *node == name).count();
    assert_eq!(count("n2"), 2, "the emptiest node takes the odd one: {nodes:?}");
}

#[test]
fn preferences_spread_over_labels_before_nodes() {
    let mut bench = Bench::new(4);
    for (n, zone) in [(0, "a"), (1, "a"), (2, "a"), (3, "b")] {
        bench.set_node(n, |node| _ = node.spec.labels.insert("zone".to_owned(), zone.to_owned()));
    }
    let spread = SpreadOver { spread_descriptor: "node.labels.zone".to_owned() };
    let preferences = vec![PlacementPreference { spread: Some(spread) }];
    let mut spec = placed(Placement { preferences, ..Placement::default() });
    spec.mode.replicated.as_mut().unwrap().replicas = Some(6);
    let web = bench.create(spec);
    bench.run();
    let nodes = bench.nodes_of(&web);
    assert_eq!(nodes.iter().filter(|node| *node == "n3").count(), 3, "half in each zone: {nodes:?}");
}

#[test]
fn a_node_where_a_service_keeps_failing_is_the_last_resort() {
    let mut bench = Bench::new(2);
    let mut restless = spec("web", 1);
    restless.task_template.restart_policy =
        Some(shoal_model::spec::RestartPolicy { delay: Some(0), ..Default::default() });
    restless.task_template.placement =
        Some(Placement { constraints: vec!["node.hostname == n1".to_owned()], ..Placement::default() });
    let web = bench.create(restless);
    bench.create(spec("other", 3));
    bench.run();
    for _ in 0..4 {
        let task = bench.active(&web).remove(0);
        bench.tell(&task, TaskState::Failed);
        bench.wait(seconds(1));
        bench.run();
    }
    assert_eq!(bench.nodes_of(&web), ["n1"]);
}

#[test]
fn the_same_dice_give_the_same_places() {
    let places = || {
        let mut bench = Bench::new(5);
        let web = bench.create(spec("web", 7));
        bench.run();
        bench.nodes_of(&web)
    };
    assert_eq!(places(), places());
}
