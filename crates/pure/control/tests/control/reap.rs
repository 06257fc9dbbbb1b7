//! What is cleared away.

use crate::bench::{Bench, node_id, seconds, spec};
use shoal_model::spec::RestartPolicy;
use shoal_model::{Cluster, TaskState};
use shoal_store::{Change, Object};
use std::time::Duration;

#[test]
fn tasks_of_a_removed_service_are_stopped_and_then_forgotten() {
    let mut bench = Bench::new(1);
    let web = bench.create(spec("web", 2));
    bench.run();
    bench.remove(web.clone());
    bench.settle();
    let tasks: Vec<_> = bench.state.tasks_of_service(&web).map(|t| (t.desired, t.status.state)).collect();
    assert_eq!(tasks, [(TaskState::Remove, TaskState::Running); 2]);
    bench.run();
    assert_eq!(bench.state.tasks().len(), 0);
}

fn fail_often(bench: &mut Bench, times: usize) -> usize {
    let web = bench.create(spec("web", 1));
    bench.run();
    for _ in 0..times {
        let task = bench.active(&web).remove(0);
        bench.tell(&task, TaskState::Failed);
        bench.wait(seconds(5));
        bench.run();
    }
    bench.state.tasks_of_service(&web).count()
}

#[test]
fn a_slot_keeps_five_tasks_the_running_one_included() {
    let mut bench = Bench::new(1);
    assert_eq!(fail_often(&mut bench, 9), 5);
}

#[test]
fn the_history_is_as_long_as_the_swarm_says() {
    for (limit, kept) in [(Some(2), 2), (Some(0), 1), (Some(-1), 10), (None, 10)] {
        let mut bench = Bench::new(1);
        let mut cluster = Cluster::clone(bench.state.cluster().unwrap());
        cluster.spec.orchestration.task_history_retention_limit = limit;
        bench.write(vec![Change::Update(Object::from(cluster))]).unwrap();
        assert_eq!(fail_often(&mut bench, 9), kept, "{limit:?}");
    }
}

#[test]
fn restarts_that_are_counted_are_remembered() {
    let mut bench = Bench::new(1);
    let mut bounded = spec("web", 1);
    bounded.task_template.restart_policy =
        Some(RestartPolicy { max_attempts: Some(8), delay: Some(0), ..RestartPolicy::default() });
    let web = bench.create(bounded);
    bench.run();
    let mut starts = 1;
    while let Some(task) = bench.active(&web).first().cloned() {
        bench.tell(&task, TaskState::Failed);
        bench.run();
        starts += usize::from(!bench.active(&web).is_empty());
        assert!(starts < 20, "the bound is not kept");
    }
    assert_eq!(starts, 9, "one start and eight restarts");
}

#[test]
fn what_ran_on_a_node_that_stays_down_for_a_day_is_orphaned() {
    let mut bench = Bench::new(2);
    let web = bench.create(spec("web", 2));
    bench.run();
    let lost = bench.active(&web).into_iter().find(|task| task.node == Some(node_id(1))).unwrap();
    bench.lose(1);
    bench.run();
    let state = |bench: &Bench| bench.state.tasks()[&lost.id].status.state;
    assert_eq!(state(&bench), TaskState::Running);
    bench.now = bench.now.plus(Duration::from_hours(24));
    bench.liveness.heard(&node_id(0), bench.now);
    bench.settle();
    assert_eq!(state(&bench), TaskState::Orphaned);
}

#[test]
fn what_ran_on_a_node_that_was_removed_is_orphaned_at_once() {
    let mut bench = Bench::new(2);
    let web = bench.create(spec("web", 2));
    bench.run();
    bench.remove(node_id(1));
    bench.run();
    let orphans = bench.state.tasks_of_service(&web).filter(|t| t.status.state == TaskState::Orphaned);
    assert_eq!(orphans.count(), 1);
    assert_eq!(bench.nodes_of(&web), ["n0", "n0"]);
}

#[test]
fn a_task_that_never_had_a_node_needs_no_node_to_end() {
    let mut bench = Bench::new(1);
    bench.drain(0);
    let web = bench.create(spec("web", 3));
    bench.settle();
    assert_eq!(bench.states_of(&web), [TaskState::Pending; 3]);
    bench.update(&web, |spec| spec.mode.replicated.as_mut().unwrap().replicas = Some(1));
    bench.settle();
    assert_eq!(bench.state.tasks().len(), 1);
}
