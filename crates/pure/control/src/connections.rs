//! How many connections the whole cluster gives to the tasks of services whose scheduler goes by them.

use shoal_model::assignment::Connections;
use shoal_model::{NodeId, ServiceId, TaskId};
use std::collections::BTreeMap;

/// The leader's sums of what the nodes have told. In memory only: a new leader hears of all of them again.
///
/// A service's counts are told anew, all of them as they are then, once one of them is off by more than an eighth of what
/// was told last (below 8: by one). So the rings of a service with hundreds of connections do not change for a single one,
/// and those that are compared with each other are always of the same moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterConnections {
    /// What each node has told last.
    by_node: BTreeMap<NodeId, Connections>,
    /// What the nodes are told.
    told: Connections,
}

impl ClusterConnections {
    /// Takes what a node tells in the place of what it told before; true when the nodes are to be told other counts.
    pub fn report(&mut self, node: &NodeId, connections: Connections) -> bool {
        self.by_node.insert(node.clone(), connections);
        self.tell()
    }

    /// Forgets what was told by nodes that are gone; true when the nodes are to be told other counts.
    pub fn retain(&mut self, is_there: impl Fn(&NodeId) -> bool) -> bool {
        self.by_node.retain(|node, _| is_there(node));
        self.tell()
    }

    /// The count that the nodes are told of a task.
    pub fn of(&self, service: &ServiceId, task: &TaskId) -> u64 {
        self.told.get(service).and_then(|tasks| tasks.get(task)).copied().unwrap_or_default()
    }

    fn tell(&mut self) -> bool {
        let mut now = self.sums();
        let mut news = false;
        self.told.retain(|service, _| now.contains_key(service));
        for (service, counts) in &mut now {
            let told = self.told.entry(service.clone()).or_default();
            if has_moved(told, counts) {
                *told = std::mem::take(counts);
                news = true;
            }
        }
        news
    }

    fn sums(&self) -> Connections {
        let mut sums = Connections::new();
        for (service, tasks) in self.by_node.values().flatten() {
            let sums = sums.entry(service.clone()).or_default();
            for (task, count) in tasks {
                let sum: &mut u64 = sums.entry(task.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        sums
    }
}

fn has_moved(told: &BTreeMap<TaskId, u64>, now: &BTreeMap<TaskId, u64>) -> bool {
    let count = |of: &BTreeMap<TaskId, u64>, task: &TaskId| of.get(task).copied().unwrap_or_default();
    told.keys().chain(now.keys()).any(|task| {
        let (told, now) = (count(told, task), count(now, task));
        told.abs_diff(now) > told / 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_random(n)
    }

    fn service() -> ServiceId {
        ServiceId::from_random(1)
    }

    fn task(n: u128) -> TaskId {
        TaskId::from_random(n)
    }

    fn given(counts: &[u64]) -> Connections {
        [(service(), (0..).map(task).zip(counts.iter().copied()).collect())].into()
    }

    fn told(connections: &ClusterConnections) -> [u64; 2] {
        [0, 1].map(|n| connections.of(&service(), &task(n)))
    }

    #[test]
    fn what_the_nodes_give_is_added_up() {
        let mut connections = ClusterConnections::default();
        assert_eq!(told(&connections), [0, 0]);
        assert!(connections.report(&node(1), given(&[3, 0])));
        assert!(connections.report(&node(2), given(&[4, 1])));
        assert_eq!(told(&connections), [7, 1]);
        assert!(!connections.report(&node(2), given(&[4, 1])), "the same again is no news");
        assert!(connections.report(&node(2), given(&[5, 1])), "few are told exactly");
        assert_eq!(told(&connections), [8, 1]);
        assert!(connections.retain(|n| *n != node(1)));
        assert_eq!(told(&connections), [5, 1]);
        connections.retain(|_| false);
        assert_eq!(told(&connections), [0, 0]);
    }

    #[test]
    fn small_moves_of_many_are_no_news_and_news_are_exact() {
        let mut connections = ClusterConnections::default();
        assert!(connections.report(&node(1), given(&[800, 100])));
        assert!(!connections.report(&node(1), given(&[890, 112])));
        assert!(!connections.report(&node(1), given(&[710, 88])));
        assert_eq!(told(&connections), [800, 100]);
        assert!(connections.report(&node(1), given(&[890, 113])));
        assert_eq!(told(&connections), [890, 113], "both, although only one has moved far");
    }

    #[test]
    fn a_service_that_is_no_longer_counted_is_forgotten() {
        let mut connections = ClusterConnections::default();
        connections.report(&node(1), given(&[800, 100]));
        connections.report(&node(1), Connections::new());
        assert_eq!(told(&connections), [0, 0]);
    }
}
