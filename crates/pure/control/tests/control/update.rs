//! Rolling updates.

use crate::bench::{Bench, seconds, spec, version};
use shoal_control::is_up_to_date;
use shoal_model::TaskState::{Failed, Running};
use shoal_model::service::UpdateState;
use shoal_model::spec::{FailureAction, ServiceSpec, UpdateConfig, UpdateOrder};
use shoal_model::{ServiceId, Task, TaskState};
use std::sync::Arc;

fn configured(replicas: u64, config: UpdateConfig) -> ServiceSpec {
    let mut spec = spec("web", replicas);
    spec.update_config = Some(config);
    spec
}

fn image(bench: &mut Bench, id: &ServiceId, image: &str) {
    bench.update(id, |spec| {
        image.clone_into(&mut spec.task_template.container_spec.as_mut().unwrap().image);
    });
}

fn images(bench: &Bench, id: &ServiceId) -> Vec<String> {
    bench.active(id).iter().map(|task| task.spec.container().image.clone()).collect()
}

fn update_state(bench: &Bench, id: &ServiceId) -> Option<UpdateState> {
    bench.service(id).update_status.map(|status| status.state)
}

fn fresh(bench: &Bench, id: &ServiceId) -> Vec<Arc<Task>> {
    let service = bench.service(id);
    let tasks = bench.active(id).into_iter();
    tasks.filter(|task| is_up_to_date(&bench.state, &service, task)).collect()
}

#[test]
fn only_a_change_of_the_template_makes_tasks_stale() {
    let mut bench = Bench::new(1);
    let web = bench.create(spec("web", 2));
    bench.run();
    let before = bench.active(&web);
    bench.update(&web, |spec| {
        spec.mode.replicated.as_mut().unwrap().replicas = Some(2);
        spec.labels.insert("a".to_owned(), "b".to_owned());
        spec.update_config = Some(UpdateConfig::default());
    });
    bench.run();
    assert_eq!(bench.active(&web), before);
    assert_eq!(update_state(&bench, &web), None);
    bench.update(&web, |spec| spec.task_template.force_update += 1);
    bench.settle();
    assert_eq!(update_state(&bench, &web), Some(UpdateState::Updating));
}

#[test]
fn parallelism_bounds_how_many_are_replaced_at_once() {
    for (parallelism, at_once) in [(1, 1), (2, 2), (0, 4)] {
        let mut bench = Bench::new(2);
        let web = bench.create(configured(4, UpdateConfig { parallelism, ..UpdateConfig::default() }));
        bench.run();
        image(&mut bench, &web, "image:2");
        bench.settle();
        assert_eq!(fresh(&bench, &web).len(), at_once);
        bench.run();
        assert_eq!(images(&bench, &web), ["image:2"; 4]);
    }
}

#[test]
fn the_old_task_stops_before_the_new_one_starts() {
    let mut bench = Bench::new(1);
    let web = bench.create(spec("web", 1));
    bench.run();
    image(&mut bench, &web, "image:2");
    bench.settle();
    let tasks: Vec<_> = bench.state.tasks_of_service(&web).map(|t| (t.desired, t.status.state)).collect();
    assert!(tasks.contains(&(TaskState::Shutdown, Running)));
    assert!(tasks.contains(&(TaskState::Ready, TaskState::Assigned)));
}

#[test]
fn start_first_keeps_the_old_task_until_the_new_one_runs() {
    let mut bench = Bench::new(1);
    let order = UpdateOrder::StartFirst;
    let web = bench.create(configured(1, UpdateConfig { order, ..UpdateConfig::default() }));
    bench.run();
    image(&mut bench, &web, "image:2");
    bench.settle();
    assert_eq!(bench.active(&web).len(), 2);
    let new = fresh(&bench, &web).remove(0);
    assert_eq!(new.desired, Running);
    bench.tell(&new, Running);
    bench.settle();
    assert_eq!(images(&bench, &web), ["image:2"]);
}

#[test]
fn the_next_batch_waits_for_the_delay() {
    let mut bench = Bench::new(1);
    let delay = 10_000_000_000;
    let web = bench.create(configured(2, UpdateConfig { delay, ..UpdateConfig::default() }));
    bench.run();
    image(&mut bench, &web, "image:2");
    bench.run();
    assert_eq!(fresh(&bench, &web).len(), 1);
    bench.wait(seconds(9));
    assert_eq!(fresh(&bench, &web).len(), 1);
    bench.wait(seconds(1));
    assert_eq!(fresh(&bench, &web).len(), 2);
}

#[test]
fn an_update_is_complete_when_the_last_task_has_been_watched() {
    let mut bench = Bench::new(1);
    let web =
        bench.create(configured(1, UpdateConfig { monitor: 30_000_000_000, ..UpdateConfig::default() }));
    bench.run();
    image(&mut bench, &web, "image:2");
    bench.run();
    assert_eq!(update_state(&bench, &web), Some(UpdateState::Updating));
    bench.wait(seconds(29));
    assert_eq!(update_state(&bench, &web), Some(UpdateState::Updating));
    bench.wait(seconds(1));
    let status = bench.service(&web).update_status.unwrap();
    assert_eq!((status.state, status.message.as_str()), (UpdateState::Completed, "update completed"));
    assert_eq!(status.completed_at, bench.now);
}

/// Updates three tasks one by one; the first new one fails.
fn fail_first(action: Option<FailureAction>, ratio: f64) -> (Bench, ServiceId) {
    let mut bench = Bench::new(1);
    let config = UpdateConfig { failure_action: action, max_failure_ratio: ratio, ..UpdateConfig::default() };
    let web = bench.create(configured(3, config));
    bench.run();
    image(&mut bench, &web, "image:2");
    bench.settle();
    let first = fresh(&bench, &web).remove(0);
    bench.tell(&first, Failed);
    bench.settle();
    (bench, web)
}

#[test]
fn a_failure_pauses_the_update_until_the_user_says_otherwise() {
    for action in [None, Some(FailureAction::Pause)] {
        let (mut bench, web) = fail_first(action, 0.0);
        let message = bench.service(&web).update_status.unwrap().message;
        assert!(
            message.starts_with("update paused due to failure or early termination of task "),
            "{message}"
        );
        bench.wait(seconds(60));
        bench.run();
        assert_eq!(update_state(&bench, &web), Some(UpdateState::Paused));
        assert_eq!(fresh(&bench, &web).len(), 1, "no further slot is touched");
        bench.update(&web, |spec| spec.task_template.force_update += 1);
        bench.run();
        assert_eq!(update_state(&bench, &web), Some(UpdateState::Updating));
    }
}

#[test]
fn some_failures_may_be_tolerated() {
    let (bench, web) = fail_first(None, 0.5);
    assert_eq!(update_state(&bench, &web), Some(UpdateState::Updating), "one of three is less than half");
    let (bench, web) = fail_first(Some(FailureAction::Continue), 0.0);
    assert_eq!(update_state(&bench, &web), Some(UpdateState::Updating));
}

#[test]
fn a_failure_can_turn_the_update_back() {
    let (mut bench, web) = fail_first(Some(FailureAction::Rollback), 0.0);
    let service = bench.service(&web);
    let status = service.update_status.unwrap();
    assert_eq!(status.state, UpdateState::RollbackStarted);
    assert!(status.message.starts_with("update rolled back due to failure or early termination of task "));
    assert_eq!(service.spec.task_template.container().image, "image:1");
    bench.wait(seconds(10));
    bench.run();
    bench.wait(seconds(10));
    bench.run();
    assert_eq!(images(&bench, &web), ["image:1"; 3]);
    assert_eq!(update_state(&bench, &web), Some(UpdateState::RollbackCompleted));
}

#[test]
fn a_rollback_that_fails_is_paused_not_rolled_back() {
    let (mut bench, web) = fail_first(Some(FailureAction::Rollback), 0.0);
    bench.wait(seconds(1));
    let service = bench.service(&web);
    let started = service.update_status.clone().unwrap().started_at;
    let new =
        |task: &Arc<Task>| task.meta.created_at >= started && is_up_to_date(&bench.state, &service, task);
    let first = bench.active(&web).into_iter().find(new).unwrap();
    bench.tell(&first, Failed);
    bench.settle();
    let status = bench.service(&web).update_status.unwrap();
    assert_eq!(status.state, UpdateState::RollbackPaused);
    assert!(status.message.starts_with("rollback paused due to failure or early termination of task "));
}

#[test]
fn a_failure_after_the_watch_is_an_ordinary_restart() {
    let mut bench = Bench::new(1);
    let web = bench.create(configured(2, UpdateConfig { delay: 60_000_000_000, ..UpdateConfig::default() }));
    bench.run();
    image(&mut bench, &web, "image:2");
    bench.run();
    let first = fresh(&bench, &web).remove(0);
    bench.wait(seconds(6));
    bench.tell(&first, Failed);
    bench.settle();
    assert_eq!(update_state(&bench, &web), Some(UpdateState::Updating));
}

#[test]
fn a_node_lost_in_the_middle_does_not_hold_the_update_up() {
    let mut bench = Bench::new(2);
    let web = bench.create(configured(2, UpdateConfig { parallelism: 0, ..UpdateConfig::default() }));
    bench.run();
    image(&mut bench, &web, "image:2");
    bench.settle();
    bench.lose(1);
    bench.run();
    bench.lose(1);
    bench.run();
    bench.lose(1);
    bench.run();
    assert_eq!(images(&bench, &web), ["image:2"; 2]);
    assert_eq!(update_state(&bench, &web), Some(UpdateState::Completed));
}

#[test]
fn a_rollback_by_hand_goes_back_and_its_tasks_are_up_to_date_at_once() {
    let mut bench = Bench::new(1);
    let web = bench.create(configured(2, UpdateConfig::default()));
    bench.run();
    let first_version = bench.service(&web).spec_version;
    image(&mut bench, &web, "image:2");
    bench.settle();
    bench.rollback(&web);
    let service = bench.service(&web);
    assert_eq!(service.spec_version, first_version);
    assert_ne!(service.previous_spec_version, Some(version(0)));
    bench.run();
    bench.wait(seconds(10));
    bench.run();
    assert_eq!(images(&bench, &web), ["image:1"; 2]);
    assert_eq!(update_state(&bench, &web), Some(UpdateState::RollbackCompleted));
}
