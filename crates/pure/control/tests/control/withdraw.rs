//! When a task that is to stop may stop.

use crate::bench::{Bench, node_id, on, publish, seconds, spec};
use shoal_control::Liveness;
use shoal_model::network::NetworkSpec;
use shoal_model::{ServiceId, Task, TaskId};
use std::sync::Arc;

/// Three nodes that hold everything so far, and a service with a task on each of the first two of which one is to stop.
struct Leaving {
    bench: Bench,
    task: Arc<Task>,
}

impl Leaving {
    fn published() -> Self {
        Self::of(|bench| bench.create(publish(spec("web", 2), 8000)))
    }

    fn on_network() -> Self {
        Self::of(|bench| {
            bench.network(NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() });
            bench.create(on(spec("web", 2), "net"))
        })
    }

    fn of(create: impl FnOnce(&mut Bench) -> ServiceId) -> Self {
        let mut bench = Bench::new(3);
        bench.drain(2);
        let web = create(&mut bench);
        bench.run();
        let mut this = Self { task: bench.active(&web).remove(0), bench };
        for n in 0..3 {
            this.settle(n);
        }
        assert!(!this.decide(), "nothing is to stop");
        let before = this.bench.active(&web);
        this.bench.update(&web, |spec| spec.mode.replicated.as_mut().unwrap().replicas = Some(1));
        this.bench.settle();
        let after = this.bench.active(&web);
        this.task = before.into_iter().find(|task| !after.iter().any(|kept| kept.id == task.id)).unwrap();
        this
    }

    /// A node says that it holds all that it should by now.
    fn settle(&mut self, n: usize) {
        self.bench.liveness.settled(&node_id(n), self.bench.state.index());
    }

    fn decide(&mut self) -> bool {
        self.bench.liveness.withdraw(&self.bench.state, self.bench.now)
    }

    fn told(&self) -> bool {
        let node = self.task.node.clone().unwrap();
        let of = |n: &usize| node_id(*n) == node;
        let n = (0..3).find(of).unwrap();
        self.bench.assignment(n).tasks[&self.task.id].withdrawn
    }

    fn withdrawn(&self) -> Vec<&TaskId> {
        self.bench.liveness.withdrawn.iter().collect()
    }
}

#[test]
fn a_published_task_is_withdrawn_when_every_node_has_let_go() {
    let mut leaving = Leaving::published();
    assert!(!leaving.decide());
    for n in [0, 2] {
        leaving.settle(n);
        assert!(!leaving.decide() && !leaving.told(), "not every node has let go");
    }
    leaving.settle(1);
    assert!(leaving.decide(), "every node has");
    assert_eq!(leaving.withdrawn(), [&leaving.task.id]);
    assert!(leaving.told());
    assert!(!leaving.decide(), "that is no longer news");
}

#[test]
fn what_a_node_settled_before_does_not_count() {
    let mut leaving = Leaving::published();
    let before = leaving.bench.state.index() - 1;
    for n in 0..3 {
        leaving.bench.liveness.settled(&node_id(n), before);
    }
    let since = leaving.bench.state.tasks()[&leaving.task.id].meta.version.index;
    assert_eq!(leaving.decide(), since <= before);
    leaving.bench.liveness.unsettled(&node_id(1));
    assert!(!leaving.decide());
}

#[test]
fn only_the_nodes_of_its_networks_are_waited_for() {
    let mut leaving = Leaving::on_network();
    for n in 0..2 {
        assert!(!leaving.decide());
        leaving.settle(n);
    }
    assert!(leaving.decide(), "the third node has none of its networks");
}

#[test]
fn a_silent_node_is_not_waited_for_for_ever() {
    let mut leaving = Leaving::published();
    let began = leaving.bench.now;
    for (second, expected) in [(1, false), (2, false), (3, true)] {
        leaving.bench.now = began.plus(seconds(second));
        for n in 0..2 {
            leaving.bench.liveness.heard(&node_id(n), leaving.bench.now);
            leaving.settle(n);
        }
        assert_eq!(leaving.decide(), expected, "after {second} s");
    }
}

#[test]
fn a_new_leader_waits_for_the_nodes_word() {
    let mut leaving = Leaving::published();
    for n in 0..3 {
        leaving.settle(n);
    }
    leaving.bench.liveness = Liveness { leader_since: leaving.bench.now, ..Liveness::default() };
    assert!(!leaving.decide() && !leaving.told());
    for n in 0..3 {
        leaving.settle(n);
    }
    assert!(leaving.decide());
}

#[test]
fn a_task_that_is_gone_is_forgotten() {
    let mut leaving = Leaving::published();
    for n in 0..3 {
        leaving.settle(n);
    }
    leaving.decide();
    leaving.bench.run();
    assert!(!leaving.bench.state.tasks().contains_key(&leaving.task.id));
    leaving.decide();
    assert!(leaving.withdrawn().is_empty());
}
