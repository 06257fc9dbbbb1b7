//! Which nodes can be counted on.

use crate::bench::{Bench, node_id, seconds};
use shoal_control::{Liveness, Report};
use shoal_model::Cluster;
use shoal_model::node::NodeState;
use shoal_store::{Change, Object};

fn node_state(bench: &Bench, n: usize) -> NodeState {
    bench.state.nodes()[&node_id(n)].status.state
}

#[test]
fn a_node_is_down_after_three_silent_periods_and_not_before() {
    let mut bench = Bench::new(2);
    bench.settle();
    let silent_at = bench.now.plus(seconds(15));
    assert_eq!(bench.plan().next, Some(silent_at));
    bench.now = bench.now.plus(seconds(14));
    bench.liveness.heard(&node_id(0), bench.now);
    bench.settle();
    assert_eq!(node_state(&bench, 1), NodeState::Ready);
    bench.now = silent_at;
    let plan = bench.plan();
    assert_eq!(plan.report, [Report::NodeDown { node: node_id(1) }]);
    bench.write(plan.changes).unwrap();
    let status = &bench.state.nodes()[&node_id(1)].status;
    assert_eq!(
        (status.state, status.message.as_str(), status.since),
        (NodeState::Down, "heartbeat failure", silent_at)
    );
}

#[test]
fn a_node_that_is_heard_again_is_ready_again() {
    let mut bench = Bench::new(2);
    bench.lose(1);
    bench.settle();
    assert_eq!(node_state(&bench, 1), NodeState::Down);
    bench.liveness.heard(&node_id(1), bench.now);
    bench.settle();
    assert_eq!(node_state(&bench, 1), NodeState::Ready);
}

#[test]
fn a_new_leader_gives_every_node_one_grace_period_and_revives_none() {
    let mut bench = Bench::new(3);
    bench.lose(2);
    bench.settle();
    bench.liveness = Liveness { leader_since: bench.now, ..Liveness::default() };
    bench.settle();
    assert_eq!(node_state(&bench, 1), NodeState::Ready);
    assert_eq!(node_state(&bench, 2), NodeState::Down, "nobody has heard it");
    bench.now = bench.now.plus(seconds(15));
    bench.settle();
    assert_eq!(node_state(&bench, 1), NodeState::Down);
}

#[test]
fn the_period_is_the_swarms() {
    let mut bench = Bench::new(2);
    let mut cluster = Cluster::clone(bench.state.cluster().unwrap());
    cluster.spec.dispatcher.heartbeat_period = 1_000_000_000;
    bench.write(vec![Change::Update(Object::from(cluster))]).unwrap();
    bench.now = bench.now.plus(seconds(3));
    bench.liveness.heard(&node_id(0), bench.now);
    bench.settle();
    assert_eq!(node_state(&bench, 1), NodeState::Down);
}

#[test]
fn a_node_is_suspected_long_before_it_is_down() {
    let mut bench = Bench::new(2);
    bench.settle();
    bench.now = bench.now.plus(seconds(8));
    bench.liveness.heard(&node_id(0), bench.now);
    let (state, now) = (bench.state.clone(), bench.now);
    assert!(bench.liveness.suspect_overdue(&state, now));
    assert!(!bench.liveness.suspect_overdue(&state, now), "that is no longer news");
    assert_eq!(bench.liveness.suspected.iter().collect::<Vec<_>>(), [&node_id(1)]);
    bench.liveness.heard(&node_id(1), now);
    assert!(bench.liveness.suspected.is_empty());
}
