//! Which tasks there should be.

use crate::bench::{Bench, node_id, seconds, spec};
use shoal_control::{is_up_to_date, service_status};
use shoal_model::TaskState::{Complete, Failed, Ready, Running};
use shoal_model::spec::{
    GlobalJob, GlobalService, Placement, ReplicatedJob, RestartCondition, RestartPolicy, ServiceMode,
    ServiceSpec,
};
use shoal_model::{ServiceId, Timestamp};

fn scale(bench: &mut Bench, id: &ServiceId, replicas: u64) {
    bench.update(id, |spec| spec.mode.replicated.as_mut().unwrap().replicas = Some(replicas));
}

fn global(name: &str) -> ServiceSpec {
    let mode = ServiceMode { global: Some(GlobalService {}), ..ServiceMode::default() };
    ServiceSpec { mode, ..spec(name, 1) }
}

fn job(completions: u64, at_once: u64) -> ServiceSpec {
    let job = ReplicatedJob { max_concurrent: Some(at_once), total_completions: Some(completions) };
    let mode = ServiceMode { replicated_job: Some(job), ..ServiceMode::default() };
    ServiceSpec { mode, ..spec("job", 1) }
}

fn restarting(policy: RestartPolicy) -> ServiceSpec {
    let mut spec = spec("web", 1);
    spec.task_template.restart_policy = Some(policy);
    spec
}

#[test]
fn a_service_has_a_task_in_each_slot_from_one() {
    let mut bench = Bench::new(2);
    let web = bench.create(spec("web", 3));
    bench.run();
    assert_eq!(bench.slots(&web), [1, 2, 3]);
    assert_eq!(bench.states_of(&web), [Running; 3]);
}

#[test]
fn from_nothing_to_assigned_takes_one_plan() {
    let mut bench = Bench::new(2);
    bench.settle();
    let web = bench.create(spec("web", 3));
    let plan = bench.plan();
    bench.write(plan.changes).unwrap();
    assert_eq!(bench.states_of(&web), [shoal_model::TaskState::Assigned; 3]);
}

#[test]
fn scaling_down_takes_what_does_not_run_then_the_fullest_node_then_the_highest_slot() {
    let mut bench = Bench::new(3);
    let web = bench.create(spec("web", 6));
    bench.run();
    let first = bench.active(&web).remove(0);
    bench.tell(&first, Failed);
    bench.settle();
    scale(&mut bench, &web, 5);
    bench.settle();
    assert_eq!(bench.slots(&web), [2, 3, 4, 5, 6], "slot 1 is only about to start");
    scale(&mut bench, &web, 3);
    bench.run();
    let mut nodes = bench.nodes_of(&web);
    nodes.sort();
    assert_eq!(nodes, ["n0", "n1", "n2"], "one on each is left");
    scale(&mut bench, &web, 0);
    bench.run();
    assert_eq!(bench.state.tasks_of_service(&web).count(), 0);
}

#[test]
fn scaling_up_fills_the_lowest_free_slots() {
    let mut bench = Bench::new(1);
    let web = bench.create(spec("web", 3));
    bench.run();
    scale(&mut bench, &web, 1);
    bench.run();
    let kept = bench.slots(&web)[0];
    scale(&mut bench, &web, 3);
    bench.run();
    assert_eq!(bench.slots(&web), [1, 2, 3]);
    assert_eq!(kept, 1);
}

#[test]
fn a_task_that_ended_is_replaced_in_its_slot_after_the_delay() {
    let mut bench = Bench::new(2);
    let web = bench.create(spec("web", 2));
    bench.run();
    bench.now = bench.now.plus(seconds(1));
    bench.all_heard();
    let dead = bench.active(&web).remove(0);
    bench.tell(&dead, Failed);
    let plan = bench.plan();
    assert_eq!(plan.next, Some(bench.now.plus(seconds(5))));
    bench.write(plan.changes).unwrap();
    let new = bench.active(&web).remove(0);
    assert_eq!((new.slot, new.desired, new.start_after), (dead.slot, Ready, bench.now.plus(seconds(5))));
    bench.run();
    assert_eq!(bench.states_of(&web), [Ready, Running], "prepared, and waiting");
    bench.wait(seconds(5));
    bench.run();
    assert_eq!(bench.states_of(&web), [Running, Running]);
}

#[test]
fn the_restart_condition_decides_after_which_end() {
    use RestartCondition::{Any, None, OnFailure};
    for (condition, end, restarts) in [
        (None, Failed, false),
        (None, Complete, false),
        (OnFailure, Failed, true),
        (OnFailure, Complete, false),
        (Any, Failed, true),
        (Any, Complete, true),
    ] {
        let mut bench = Bench::new(1);
        let web = bench.create(restarting(RestartPolicy {
            condition: Some(condition),
            delay: Some(0),
            ..RestartPolicy::default()
        }));
        bench.run();
        let task = bench.active(&web).remove(0);
        bench.tell(&task, end);
        bench.run();
        assert_eq!(bench.active(&web).len(), usize::from(restarts), "{condition:?} after {end:?}");
        bench.wait(seconds(600));
        assert_eq!(bench.active(&web).len(), usize::from(restarts), "the answer stays the same");
    }
}

#[test]
fn attempts_are_counted_within_the_window() {
    let mut bench = Bench::new(1);
    let web = bench.create(restarting(RestartPolicy {
        delay: Some(0),
        max_attempts: Some(2),
        window: Some(10_000_000_000),
        ..RestartPolicy::default()
    }));
    bench.run();
    let mut fail_after = |time| {
        let task = bench.active(&web).remove(0);
        bench.wait(seconds(time));
        bench.tell(&task, Failed);
        bench.run();
        bench.active(&web).len()
    };
    assert_eq!(fail_after(20), 1, "the first restart");
    assert_eq!(fail_after(20), 1, "the one before is out of the window");
    assert_eq!(fail_after(1), 1, "the second within the window");
    assert_eq!(fail_after(1), 0, "two within the window are enough");
}

#[test]
fn a_service_that_may_not_restart_can_be_updated_and_scaled_all_the_same() {
    let mut bench = Bench::new(1);
    let web = bench.create(restarting(RestartPolicy {
        condition: Some(RestartCondition::None),
        ..RestartPolicy::default()
    }));
    bench.run();
    let task = bench.active(&web).remove(0);
    bench.tell(&task, Complete);
    bench.run();
    scale(&mut bench, &web, 2);
    bench.run();
    assert_eq!(bench.slots(&web), [2], "slot 1 is done");
    bench.update(&web, |spec| spec.task_template.force_update += 1);
    bench.run();
    bench.wait(seconds(1));
    bench.run();
    assert_eq!(bench.slots(&web), [1, 2]);
}

#[test]
fn tasks_of_a_node_that_is_down_are_replaced_at_once() {
    let mut bench = Bench::new(3);
    let web = bench.create(spec("web", 3));
    bench.run();
    bench.lose(1);
    bench.settle();
    assert_eq!(bench.active(&web).iter().filter(|t| t.start_after != Timestamp::default()).count(), 0);
    bench.run();
    assert_eq!(bench.states_of(&web), [Running; 3]);
    assert!(!bench.nodes_of(&web).contains(&"n1".to_owned()));
}

#[test]
fn a_node_that_comes_back_gets_nothing_back() {
    let mut bench = Bench::new(2);
    let web = bench.create(spec("web", 2));
    bench.run();
    bench.lose(1);
    bench.run();
    bench.wait(seconds(1));
    bench.run();
    assert_eq!(bench.nodes_of(&web), ["n0", "n0"]);
    assert_eq!(bench.states_of(&web), [Running; 2]);
    let lost = bench.state.tasks_of_node(&node_id(1)).next().unwrap();
    assert_eq!(lost.status.state, shoal_model::TaskState::Shutdown, "it was told to stop");
}

#[test]
fn a_drained_nodes_tasks_move_and_the_new_ones_wait_for_the_old_to_stop() {
    let mut bench = Bench::new(2);
    let web = bench.create(spec("web", 2));
    bench.run();
    bench.drain(1);
    bench.settle();
    assert_eq!(bench.nodes_of(&web), ["n0", "n0"]);
    let moved = bench.active(&web).into_iter().find(|t| t.status.state < Running).unwrap();
    assert_eq!(moved.desired, Ready);
    bench.run();
    assert_eq!(bench.states_of(&web), [Running; 2]);
}

#[test]
fn a_new_task_does_not_wait_for_ever_for_an_old_one_that_does_not_stop() {
    let mut bench = Bench::new(2);
    let web = bench.create(spec("web", 1));
    bench.run();
    let on_second = bench.nodes_of(&web) == ["n1"];
    bench.drain(usize::from(on_second));
    bench.settle();
    assert_eq!(bench.active(&web)[0].desired, Ready);
    bench.wait(seconds(60));
    assert_eq!(bench.active(&web)[0].desired, Running);
}

#[test]
fn a_constraint_that_no_longer_holds_moves_a_task() {
    let mut bench = Bench::new(2);
    bench.set_node(0, |node| _ = node.spec.labels.insert("zone".to_owned(), "a".to_owned()));
    let mut pinned = spec("web", 1);
    let constraints = vec!["node.labels.zone == a".to_owned()];
    pinned.task_template.placement = Some(Placement { constraints, ..Placement::default() });
    let web = bench.create(pinned);
    bench.run();
    assert_eq!(bench.nodes_of(&web), ["n0"]);
    bench.set_node(0, |node| node.spec.labels.clear());
    bench.set_node(1, |node| _ = node.spec.labels.insert("zone".to_owned(), "a".to_owned()));
    bench.run();
    assert_eq!(bench.nodes_of(&web), ["n1"]);
}

#[test]
fn a_global_service_has_one_task_on_every_node_that_is_fit() {
    let mut bench = Bench::new(3);
    bench.drain(2);
    let everywhere = bench.create(global("everywhere"));
    bench.run();
    assert_eq!(bench.nodes_of(&everywhere), ["n0", "n1"]);
    bench.set_node(2, |node| node.spec.availability = shoal_model::node::Availability::Active);
    bench.run();
    assert_eq!(bench.nodes_of(&everywhere), ["n0", "n1", "n2"]);
    bench.lose(1);
    bench.run();
    assert_eq!(bench.nodes_of(&everywhere), ["n0", "n2"]);
    bench.wait(seconds(1));
    bench.run();
    assert_eq!(bench.nodes_of(&everywhere), ["n0", "n1", "n2"]);
    assert_eq!(bench.slots(&everywhere), [0, 0, 0]);
}

#[test]
fn a_global_services_task_is_restarted_on_its_node() {
    let mut bench = Bench::new(2);
    let everywhere = bench.create(global("everywhere"));
    bench.run();
    let task = bench.active(&everywhere).remove(1);
    bench.tell(&task, Failed);
    bench.run();
    assert_eq!(bench.nodes_of(&everywhere), ["n0", "n1"]);
    assert_eq!(bench.states_of(&everywhere), [Running, Ready]);
}

#[test]
fn a_job_runs_so_many_at_once_until_enough_have_completed() {
    let mut bench = Bench::new(2);
    let id = bench.create(job(5, 2));
    let mut seen = 0;
    for _ in 0..10 {
        bench.run();
        let running: Vec<_> = bench.active(&id).into_iter().filter(|t| t.status.state == Running).collect();
        assert!(running.len() <= 2);
        seen += running.len();
        for task in running {
            bench.tell(&task, Complete);
        }
    }
    assert_eq!(seen, 5);
    let status = service_status(&bench.state, &bench.service(&id));
    assert_eq!((status.running, status.desired, status.completed), (0, 2, 5));
    let mut slots = bench.slots(&id);
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2, 3, 4], "jobs count from nought");
}

#[test]
fn a_jobs_failure_is_tried_again_and_does_not_count() {
    let mut bench = Bench::new(1);
    let id = bench.create(job(1, 1));
    bench.run();
    let task = bench.active(&id).remove(0);
    bench.tell(&task, Failed);
    bench.wait(seconds(5));
    bench.run();
    let again = bench.active(&id).remove(0);
    assert_eq!((again.slot, again.status.state), (0, Running));
    bench.tell(&again, Complete);
    bench.wait(seconds(60));
    bench.run();
    assert_eq!(service_status(&bench.state, &bench.service(&id)).completed, 1);
    assert_eq!(bench.states_of(&id), [Complete]);
}

#[test]
fn an_update_runs_a_job_anew_and_forgets_the_last_time() {
    let mut bench = Bench::new(1);
    let id = bench.create(job(1, 1));
    bench.run();
    let first = bench.active(&id).remove(0);
    bench.tell(&first, Complete);
    bench.run();
    bench.now = bench.now.plus(seconds(7));
    bench.update(&id, |spec| spec.task_template.force_update += 1);
    let service = bench.service(&id);
    assert_eq!(service.job_iteration.unwrap().index, 1);
    assert_eq!(service.job_last_execution, bench.now);
    assert!(!is_up_to_date(&bench.state, &service, &first));
    bench.run();
    let tasks: Vec<_> = bench.state.tasks_of_service(&id).collect();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].job_iteration, Some(1));
}

#[test]
fn a_global_job_runs_once_on_every_node_new_ones_too() {
    let mut bench = Bench::new(2);
    let mode = ServiceMode { global_job: Some(GlobalJob {}), ..ServiceMode::default() };
    let id = bench.create(ServiceSpec { mode, ..spec("sweep", 1) });
    bench.run();
    for task in bench.active(&id) {
        bench.tell(&task, Complete);
    }
    bench.run();
    assert_eq!(bench.states_of(&id), [Complete, Complete]);
    bench.write(vec![shoal_store::Change::Create(crate::bench::node(2).into())]).unwrap();
    bench.run();
    assert_eq!(bench.nodes_of(&id), ["n0", "n1", "n2"]);
    assert_eq!(bench.states_of(&id), [Complete, Complete, Running]);
}
