//! Which nodes can be counted on.

use crate::bench::{Bench, node_id, seconds};
use shoal_control::{Liveness, Report};
use shoal_model::node::NodeState;
use shoal_model::{Cluster, NodeId, Timestamp};
use shoal_store::{Change, Object};
use std::time::Duration;

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

/// Looks for silence every 100 ms for so long, while these nodes are heard; answers who is suspected in the end.
fn listen(bench: &mut Bench, millis: u64, heard: &[usize]) -> Vec<NodeId> {
    let state = bench.state.clone();
    for _ in 0..millis / 100 {
        bench.now = bench.now.plus(Duration::from_millis(100));
        for n in heard {
            bench.liveness.heard(&node_id(*n), bench.now);
        }
        bench.liveness.suspect_silent(&state, bench.now);
    }
    bench.liveness.suspected.iter().cloned().collect()
}

#[test]
fn a_silent_node_is_suspected_within_a_second_and_only_that() {
    let mut bench = Bench::new(2);
    bench.settle();
    assert_eq!(listen(&mut bench, 1000, &[0, 1]), []);
    assert_eq!(listen(&mut bench, 600, &[0]), [], "three words may be late");
    assert_eq!(listen(&mut bench, 200, &[0]), [node_id(1)]);
    let (state, now) = (bench.state.clone(), bench.now);
    assert!(!bench.liveness.suspect_silent(&state, now).news, "that is no longer news");
    bench.settle();
    assert_eq!(node_state(&bench, 1), NodeState::Ready);
    bench.liveness.heard(&node_id(1), bench.now);
    assert!(bench.liveness.suspected.is_empty(), "it is trusted again at once");
}

#[test]
fn the_next_suspicion_is_foretold() {
    let mut bench = Bench::new(2);
    bench.settle();
    listen(&mut bench, 500, &[0, 1]);
    let (state, heard) = (bench.state.clone(), bench.now);
    let next = bench.liveness.suspect_silent(&state, heard).next.unwrap();
    assert!(next > heard && next < heard.plus(seconds(1)));
    // It has looked until just before.
    bench.liveness.looked_at = Timestamp(next.0 - 1);
    assert!(!bench.liveness.suspect_silent(&state, Timestamp(next.0 - 1)).news);
    assert!(bench.liveness.suspect_silent(&state, next).news);
}

#[test]
fn a_manager_that_slept_blames_nobody_for_it() {
    let mut bench = Bench::new(3);
    bench.settle();
    listen(&mut bench, 500, &[0, 1, 2]);
    bench.now = bench.now.plus(seconds(4));
    let (state, now) = (bench.state.clone(), bench.now);
    assert!(!bench.liveness.suspect_silent(&state, now).news);
    assert_eq!(listen(&mut bench, 800, &[0, 1]), [node_id(2)], "who stays silent is noticed all the same");
}

#[test]
fn a_new_leader_gives_the_nodes_time_to_find_it() {
    let mut bench = Bench::new(2);
    bench.settle();
    bench.liveness = Liveness { leader_since: bench.now, ..Liveness::default() };
    assert_eq!(listen(&mut bench, 2900, &[0]), []);
    assert_eq!(listen(&mut bench, 200, &[0]), [node_id(1)]);
}
