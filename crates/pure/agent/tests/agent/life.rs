//! The life of a task: what its container does next, and what the managers are told.

use crate::example::{
    self, NOW, all_running, assignment, client_1, container, exited, facts, running, whoami_1,
};
use shoal_agent::{declare, draining, names, next_wake, plan, reports};
use shoal_model::assignment::{
    ContainerState, Draining, Health, ImageState, ObservedContainer, StepFailure, TaskOp,
};
use shoal_model::netns::{NamespaceName, Namespaces};
use shoal_model::task::{Owner, may_move};
use shoal_model::{Assignment, Observed, TaskId, TaskState, TaskStatus, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// One node with one task, `client`, and what is seen of it.
struct Node {
    assignment: Assignment,
    observed: Observed,
    /// Whether the namespaces are as declared.
    networks_ready: bool,
}

impl Node {
    fn new() -> Self {
        let mut assignment = assignment();
        assignment.tasks.remove(&whoami_1());
        Self { assignment, observed: Observed::default(), networks_ready: true }
    }

    fn with_image(mut self, state: ImageState) -> Self {
        self.observed.images.insert("whoami:latest".to_owned(), state);
        self
    }

    fn desired(mut self, desired: TaskState) -> Self {
        self.assignment.tasks.get_mut(&client_1()).unwrap().desired = desired;
        self
    }

    fn known(mut self, known: TaskState) -> Self {
        self.assignment.tasks.get_mut(&client_1()).unwrap().known = known;
        self
    }

    fn start_after(mut self, time: Timestamp) -> Self {
        self.assignment.tasks.get_mut(&client_1()).unwrap().start_after = time;
        self
    }

    fn holding(mut self, container: ObservedContainer) -> Self {
        self.observed.containers.insert(client_1(), container);
        self.with_image(ImageState::Present)
    }

    /// Nothing keeps it from being stopped.
    fn drained(mut self) -> Self {
        let long_ago = Timestamp(NOW.0 - 1_000_000_000);
        let drained = Draining { told_at: long_ago, withdrawn_at: Some(long_ago), connections: 0 };
        self.observed.draining.insert(client_1(), drained);
        self
    }

    fn failed(mut self, retry: bool, seconds_ago: i64, attempts: u32) -> Self {
        let at = Timestamp(NOW.0 - seconds_ago * 1_000_000_000);
        let failure = StepFailure { message: "No such image: whoami:latest".to_owned(), retry, at, attempts };
        self.observed.failures.insert(client_1(), failure);
        self
    }

    fn without_networks(mut self) -> Self {
        self.networks_ready = false;
        self
    }

    fn namespaces(&self) -> (Namespaces, Namespaces) {
        let declared = declare(&self.assignment, &self.observed, &Namespaces::new(), &facts(), NOW);
        let seen = if self.networks_ready { declared.clone() } else { Namespaces::new() };
        (declared, seen)
    }

    fn plan(&self) -> Vec<TaskOp> {
        let (declared, seen) = self.namespaces();
        plan(&self.assignment, &self.observed, &declared, &seen, NOW)
    }

    /// The one report, if there is one.
    fn report(&self) -> Option<TaskStatus> {
        let (declared, seen) = self.namespaces();
        let mut reports = reports(&self.assignment, &self.observed, &declared, &seen, NOW);
        assert!(reports.len() <= 1);
        reports.pop().map(|report| report.status)
    }

    fn reported(&self) -> Option<TaskState> {
        self.report().map(|status| status.state)
    }
}

fn created() -> ObservedContainer {
    container(&client_1(), ContainerState::Created)
}

fn with_health(container: ObservedContainer, health: Health) -> ObservedContainer {
    ObservedContainer { health: Some(health), ..container }
}

fn stopping(container: ObservedContainer, seconds_ago: i64) -> ObservedContainer {
    ObservedContainer { stopping_since: Some(Timestamp(NOW.0 - seconds_ago * 1_000_000_000)), ..container }
}

fn fetch() -> Vec<TaskOp> {
    vec![TaskOp::FetchImage { task: client_1(), image: "whoami:latest".to_owned() }]
}

fn create() -> Vec<TaskOp> {
    vec![TaskOp::Create(client_1())]
}

fn start() -> Vec<TaskOp> {
    vec![TaskOp::Start(client_1())]
}

fn stop() -> Vec<TaskOp> {
    vec![TaskOp::Stop(client_1())]
}

fn remove() -> Vec<TaskOp> {
    vec![TaskOp::Remove(client_1())]
}

fn in_seconds(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

#[test]
fn the_way_to_running() {
    use TaskState::{Accepted, Assigned, Preparing, Ready, Running, Starting};
    let new = || Node::new().without_networks();
    let table: Vec<(&str, Node, Vec<TaskOp>, Option<TaskState>)> = vec![
        ("new", new(), fetch(), Some(Accepted)),
        ("known", new().known(Accepted), fetch(), None),
        ("fetching", new().with_image(ImageState::Fetching).known(Accepted), vec![], Some(Preparing)),
        ("image, no network", new().with_image(ImageState::Present).known(Preparing), vec![], None),
        ("network, no image", Node::new().with_image(ImageState::Fetching).known(Preparing), vec![], None),
        ("all there", Node::new().with_image(ImageState::Present).known(Preparing), create(), None),
        ("made early", Node::new().holding(created()).desired(Ready).known(Preparing), vec![], Some(Ready)),
        ("made", Node::new().holding(created()).known(Preparing), start(), Some(Starting)),
        ("made, network lost", new().holding(created()).known(Preparing), vec![], Some(Ready)),
        ("runs", Node::new().holding(running(&client_1())).known(Starting), vec![], Some(Running)),
        ("runs, and all know", Node::new().holding(running(&client_1())).known(Running), vec![], None),
        (
            "runs, and nobody knows",
            Node::new().holding(running(&client_1())).known(Assigned),
            vec![],
            Some(Running),
        ),
    ];
    for (what, node, ops, state) in table {
        assert_eq!((node.plan(), node.reported()), (ops, state), "{what}");
    }
}

#[test]
fn a_ready_task_waits_for_its_time() {
    let early = Node::new().holding(created()).known(TaskState::Preparing).start_after(in_seconds(3));
    assert_eq!((early.plan(), early.reported()), (vec![], Some(TaskState::Ready)));
    assert_eq!(next_wake(&early.assignment, &early.observed, NOW), Some(in_seconds(3)));
    let in_time = early.start_after(NOW);
    assert_eq!((in_time.plan(), in_time.reported()), (start(), Some(TaskState::Starting)));
    assert_eq!(next_wake(&in_time.assignment, &in_time.observed, NOW), None);
}

#[test]
fn a_probed_container_runs_when_it_is_healthy() {
    let of = |health| Node::new().holding(with_health(running(&client_1()), health)).known(TaskState::Ready);
    assert_eq!(of(Health::Starting).reported(), Some(TaskState::Starting));
    assert_eq!(of(Health::Healthy).reported(), Some(TaskState::Running));
    let sick = of(Health::Unhealthy).known(TaskState::Running);
    let status = sick.report().unwrap();
    assert_eq!((status.state, status.err.as_str()), (TaskState::Failed, "dockerexec: unhealthy container"));
    assert_eq!(sick.plan(), stop());
}

#[test]
fn a_container_that_ends_by_itself() {
    let ended = |code| Node::new().holding(exited(&client_1(), code)).known(TaskState::Running);
    let good = ended(0).report().unwrap();
    assert_eq!((good.state, good.message.as_str(), good.err.as_str()), (TaskState::Complete, "finished", ""));
    assert_eq!(good.timestamp, Timestamp(NOW.0 - 1_000_000_000), "when it ended, not when it was seen");
    let bad = ended(137).report().unwrap();
    assert_eq!(bad.state, TaskState::Failed);
    assert_eq!((bad.message.as_str(), bad.err.as_str()), ("started", "task: non-zero exit (137)"));
    let its = bad.container.unwrap();
    assert_eq!((its.container_id, its.pid, its.exit_code), (names::container_id(&client_1()), 0, 137));
    assert_eq!(ended(137).plan(), [], "its logs are kept");
}

#[test]
fn the_cause_of_an_end_is_told() {
    let mut out_of_memory = exited(&client_1(), 137);
    if let ContainerState::Exited { out_of_memory, .. } = &mut out_of_memory.state {
        *out_of_memory = true;
    }
    let sick = with_health(stopping(exited(&client_1(), 143), 3), Health::Unhealthy);
    for (container, err) in [
        (out_of_memory, "task: non-zero exit (137): out of memory"),
        (sick, "task: non-zero exit (143): dockerexec: unhealthy container"),
    ] {
        let status = Node::new().holding(container).known(TaskState::Running).report().unwrap();
        assert_eq!((status.state, status.err.as_str()), (TaskState::Failed, err));
    }
}

#[test]
fn the_way_out() {
    use TaskState::{Complete, Failed, Remove, Running, Shutdown};
    let told = || Node::new().desired(Shutdown).known(Running).drained();
    let own_end = |code| exited(&client_1(), code);
    let stopped = |code| stopping(exited(&client_1(), code), 5);
    let table: Vec<(&str, Node, Vec<TaskOp>, Option<TaskState>)> = vec![
        ("told", told().holding(running(&client_1())), stop(), None),
        ("stopping", told().holding(stopping(running(&client_1()), 9)), vec![], None),
        ("outlives its grace", told().holding(stopping(running(&client_1()), 10)), stop(), None),
        ("stopped", told().holding(stopped(0)), vec![], Some(Shutdown)),
        ("killed", told().holding(stopped(137)), vec![], Some(Shutdown)),
        ("ended just before", told().holding(own_end(0)), vec![], Some(Complete)),
        ("ended otherwise", told().holding(own_end(143)), vec![], Some(Shutdown)),
        ("never made", Node::new().desired(Shutdown), vec![], Some(Shutdown)),
        ("never started", Node::new().desired(Shutdown).holding(created()), remove(), Some(Shutdown)),
        ("its container is gone", told(), vec![], Some(Shutdown)),
        ("ended and known", told().known(Shutdown).holding(stopped(0)), vec![], None),
        ("to be removed, runs", told().desired(Remove).holding(running(&client_1())), stop(), None),
        ("to be removed, ended", told().desired(Remove).holding(stopped(0)), remove(), Some(Shutdown)),
        ("to be removed, is gone", told().desired(Remove).known(Shutdown), vec![], None),
        (
            "its node was given up",
            Node::new().known(TaskState::Orphaned).holding(running(&client_1())),
            stop(),
            None,
        ),
        ("known as failed, sick", Node::new().known(Failed).holding(running(&client_1())), stop(), None),
    ];
    for (what, node, ops, state) in table {
        assert_eq!((node.plan(), node.reported()), (ops, state), "{what}");
    }
}

#[test]
fn the_users_grace_period_counts() {
    let mut node = Node::new().desired(TaskState::Shutdown).holding(stopping(running(&client_1()), 20));
    let task = node.assignment.tasks.get_mut(&client_1()).unwrap();
    task.spec.container_spec.as_mut().unwrap().stop_grace_period = Some(60_000_000_000);
    assert_eq!(node.plan(), []);
    assert_eq!(next_wake(&node.assignment, &node.observed, NOW), Some(in_seconds(40)));
}

#[test]
fn containers_that_no_assignment_names_are_stopped_then_removed() {
    let mut node = Node::new();
    node.assignment.tasks.clear();
    assert_eq!(node.holding(running(&client_1())).plan(), stop());
    for ended in [created(), exited(&client_1(), 0)] {
        let mut node = Node::new();
        node.assignment.tasks.clear();
        assert_eq!(node.holding(ended).plan(), remove());
    }
}

#[test]
fn a_lost_container_is_a_failed_task_and_does_not_come_back() {
    let lost = Node::new().with_image(ImageState::Present).known(TaskState::Running);
    let status = lost.report().unwrap();
    assert_eq!(status.state, TaskState::Failed);
    assert_eq!(status.err, format!("No such container: {}", names::container_id(&client_1())));
    assert_eq!(lost.plan(), []);
    let before_start = Node::new().with_image(ImageState::Present).known(TaskState::Ready);
    assert_eq!((before_start.plan(), before_start.reported()), (create(), None));
}

#[test]
fn a_final_failure_before_the_start_rejects_the_task() {
    let node = Node::new()
        .with_image(ImageState::Failed("no".into()))
        .failed(false, 100, 1)
        .known(TaskState::Preparing);
    assert_eq!(node.plan(), []);
    let status = node.report().unwrap();
    assert_eq!((status.state, status.message.as_str()), (TaskState::Rejected, "preparing"));
    assert_eq!(status.err, "No such image: whoami:latest");
    let (declared, _) = node.namespaces();
    assert!(!declared.contains_key(&names::sandbox(&client_1())));
}

#[test]
fn a_start_that_cannot_work_fails_the_task() {
    let node = Node::new().holding(created()).failed(false, 0, 1).known(TaskState::Ready);
    assert_eq!((node.plan(), node.reported()), (vec![], Some(TaskState::Failed)));
}

#[test]
fn a_failure_that_may_pass_is_tried_again_after_a_pause() {
    let missing =
        || Node::new().with_image(ImageState::Failed("no route to host".into())).known(TaskState::Preparing);
    let resting = missing().failed(true, 3, 3);
    assert_eq!(resting.plan(), []);
    assert_eq!(next_wake(&resting.assignment, &resting.observed, NOW), Some(in_seconds(1)));
    assert_eq!(missing().failed(true, 4, 3).plan(), fetch());
    let status = resting.report().unwrap();
    assert_eq!((status.state, status.err.as_str()), (TaskState::Preparing, "No such image: whoami:latest"));
    assert_eq!(Some(status), resting.report(), "said again in the same words");
    let starting = Node::new().holding(created()).failed(true, 1, 1).known(TaskState::Starting);
    assert_eq!(starting.plan(), start());
}

#[test]
fn another_tasks_failure_to_fetch_does_not_count() {
    let node = Node::new().with_image(ImageState::Failed("no".into()));
    assert_eq!(node.plan(), fetch());
}

#[test]
fn a_difference_in_ipv6_parameters_holds_nobody_up() {
    let node = Node::new().with_image(ImageState::Present);
    let (declared, mut seen) = node.namespaces();
    for namespace in seen.values_mut() {
        namespace.sysctls.retain(|name, _| !name.starts_with("net.ipv6."));
    }
    assert_eq!(plan(&node.assignment, &node.observed, &declared, &seen, NOW), create());
}

#[test]
fn an_unfinished_overlay_holds_its_tasks_up_and_no_others() {
    let assignment = assignment();
    let mut observed = all_running(&assignment);
    observed.containers.clear();
    let declared = declare(&assignment, &observed, &Namespaces::new(), &facts(), NOW);
    let ids = |ops: Vec<TaskOp>| -> Vec<TaskId> {
        ops.into_iter().filter_map(|op| if let TaskOp::Create(id) = op { Some(id) } else { None }).collect()
    };
    let without = |name: &NamespaceName| {
        let mut seen = declared.clone();
        seen.get_mut(name).unwrap().neighbours.clear();
        ids(plan(&assignment, &observed, &declared, &seen, NOW))
    };
    let overlay = |id| NamespaceName::Named(shoal_model::network::namespace_name(&id));
    assert_eq!(without(&overlay(example::ingress())), [client_1()]);
    assert_eq!(without(&overlay(example::my_demo())), []);
    assert_eq!(without(&NamespaceName::Host), [whoami_1(), client_1()]);
}

#[test]
fn reports_only_move_forward() {
    let states = || {
        [
            None,
            Some(created()),
            Some(running(&client_1())),
            Some(exited(&client_1(), 0)),
            Some(exited(&client_1(), 1)),
        ]
    };
    let desires = [TaskState::Ready, TaskState::Running, TaskState::Shutdown, TaskState::Remove];
    let knowns = [
        TaskState::Assigned,
        TaskState::Accepted,
        TaskState::Preparing,
        TaskState::Ready,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Complete,
        TaskState::Shutdown,
        TaskState::Failed,
        TaskState::Rejected,
        TaskState::Orphaned,
    ];
    for desired in desires {
        for known in knowns {
            for container in states() {
                for failure in [None, Some(true), Some(false)] {
                    let mut node = Node::new().desired(desired).known(known);
                    if let Some(container) = container.clone() {
                        node = node.holding(container);
                    }
                    if let Some(retry) = failure {
                        node = node.failed(retry, 1, 1);
                    }
                    let state = node.reported();
                    let allowed = state.is_none_or(|state| may_move(Owner::Agent, known, state));
                    assert!(
                        allowed,
                        "{known:?} to {state:?} with {container:?}, {failure:?}, wanted {desired:?}"
                    );
                }
            }
        }
    }
}

/// A task that serves and was told to stop so many milliseconds ago.
fn leaving(millis: i64, withdrawn_millis: Option<i64>, connections: u32) -> Node {
    let ago = |millis: i64| Timestamp(NOW.0 - millis * 1_000_000);
    let mut node =
        Node::new().holding(running(&client_1())).known(TaskState::Running).desired(TaskState::Shutdown);
    let draining = Draining { told_at: ago(millis), withdrawn_at: withdrawn_millis.map(ago), connections };
    node.observed.draining.insert(client_1(), draining);
    node
}

#[test]
fn a_task_that_serves_drains_before_it_is_stopped() {
    let table = [
        ("just told", leaving(0, None, 0), vec![]),
        ("nobody says it is withdrawn", leaving(4900, None, 0), vec![]),
        ("nobody says so for too long", leaving(5100, None, 0), stop()),
        ("just withdrawn", leaving(500, Some(0), 0), vec![]),
        ("withdrawn, and nothing came late", leaving(500, Some(100), 0), stop()),
        ("connections live", leaving(9900, Some(9000), 2), vec![]),
        ("connections live too long", leaving(10_000, Some(9000), 2), stop()),
        ("not yet withdrawn at the end of the grace period", leaving(500, None, 2), vec![]),
    ];
    for (what, node, ops) in table {
        assert_eq!((node.plan(), node.report()), (ops, None), "{what}: it counts as running");
    }
}

#[test]
fn what_serves_nobody_is_stopped_at_once() {
    let before_it_ran = Node::new().holding(running(&client_1())).desired(TaskState::Shutdown);
    assert_eq!(before_it_ran.known(TaskState::Starting).plan(), stop());
    let mut alone = leaving(0, None, 1);
    alone.assignment.tasks.get_mut(&client_1()).unwrap().attachments.clear();
    assert_eq!(alone.plan(), stop());
    let mut removed = leaving(0, None, 1);
    let service = removed.assignment.tasks[&client_1()].service.clone();
    for network in removed.assignment.networks.values_mut() {
        network.services.remove(&service);
    }
    assert_eq!(removed.plan(), stop(), "its service is gone, and with it every ring");
    let mut sick = leaving(0, None, 1);
    let container = sick.observed.containers.get_mut(&client_1()).unwrap();
    container.health = Some(Health::Unhealthy);
    assert_eq!(sick.plan(), stop());
}

#[test]
fn a_draining_task_is_looked_at_in_time() {
    let next =
        |node: &Node| next_wake(&node.assignment, &node.observed, NOW).map(|at| at.since(NOW).as_millis());
    assert_eq!(next(&leaving(1000, None, 0)), Some(4000), "the longest wait for a withdrawal");
    assert_eq!(next(&leaving(500, Some(30), 0)), Some(70), "what may come late");
    assert_eq!(next(&leaving(500, Some(400), 1)), Some(200), "the next count");
    assert_eq!(next(&leaving(9950, Some(400), 1)), Some(50), "the end of the grace period");
    assert_eq!(next(&leaving(500, Some(400), 0)), None, "it is stopped now");
}

#[test]
fn draining_is_remembered_from_the_first_word_on() {
    let mut node = leaving(0, None, 0);
    let first = draining(&BTreeMap::new(), &node.assignment, NOW);
    assert_eq!(first[&client_1()], Draining { told_at: NOW, withdrawn_at: None, connections: 0 });
    node.assignment.tasks.get_mut(&client_1()).unwrap().withdrawn = true;
    let second = draining(&first, &node.assignment, in_seconds(1));
    let third = draining(&second, &node.assignment, in_seconds(2));
    assert_eq!(third[&client_1()].told_at, NOW);
    assert_eq!(third[&client_1()].withdrawn_at, Some(in_seconds(1)));
    let kept = Node::new().known(TaskState::Running);
    assert!(draining(&third, &kept.assignment, NOW).is_empty(), "only what is told to stop drains");
}

#[test]
fn connections_that_were_cut_are_told() {
    let ended = |connections| {
        let mut node = leaving(20_000, Some(19_000), connections);
        node.observed.containers.insert(client_1(), stopping(exited(&client_1(), 143), 3));
        let status = node.report().unwrap();
        (status.state, status.err)
    };
    assert_eq!(ended(0), (TaskState::Shutdown, String::new()));
    assert_eq!(ended(1), (TaskState::Shutdown, "1 connection outlived the grace period".to_owned()));
    assert_eq!(ended(3), (TaskState::Shutdown, "3 connections outlived the grace period".to_owned()));
}
