//! When a task that is to stop may stop: once no node gives it new connections any more, by the nodes' own word.
//!
//! With the log entry that wants a task to stop its share of new connections is 0 in every assignment computed since. A
//! node that says that it holds such an assignment, kernel and all, has let go of the task.

use crate::assign::is_the_nodes;
use crate::liveness::Liveness;
use shoal_model::{NodeId, Task, TaskState, Timestamp};
use shoal_store::State;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node that has been silent for so long is not waited for: it may be gone, and then it gives nobody connections.
const SILENCE: Duration = Duration::from_secs(2);

impl Liveness {
    /// Notes that a node has settled everything up to log index `index`; true when that is news.
    pub fn settled(&mut self, node: &NodeId, index: u64) -> bool {
        let known = self.settled.entry(node.clone()).or_default();
        let news = index > *known;
        *known = index.max(*known);
        news
    }

    /// Notes that nothing is known of what a node holds: a session has begun, perhaps with a restarted daemon.
    pub fn unsettled(&mut self, node: &NodeId) {
        self.settled.remove(node);
    }

    /// Finds the tasks that every node has let go of since the last time; true if there are any. A task that was once
    /// withdrawn stays so.
    pub fn withdraw(&mut self, state: &State, now: Timestamp) -> bool {
        self.withdrawn.retain(|id| state.tasks().contains_key(id));
        let leaving = |task: &&std::sync::Arc<Task>| is_leaving(task) && !self.withdrawn.contains(&task.id);
        let leaving = state.tasks().values().filter(leaving);
        let let_go = |task: &&std::sync::Arc<Task>| {
            holders(state, task).into_iter().all(|node| self.has_let_go(node, task, now))
        };
        let news: Vec<_> = leaving.filter(let_go).map(|task| task.id.clone()).collect();
        let any = !news.is_empty();
        self.withdrawn.extend(news);
        any
    }

    fn has_let_go(&self, node: &NodeId, task: &Task, now: Timestamp) -> bool {
        // The task was wanted to stop with the last write of it, or before.
        let since = task.meta.version.index;
        let settled = self.settled.get(node).is_some_and(|index| *index >= since);
        settled || now.since(self.last_seen(node)) > SILENCE
    }
}

/// Whether a node works on its end. `Complete` as a desired state means to run to the end.
fn is_leaving(task: &Task) -> bool {
    task.desired > TaskState::Complete && is_the_nodes(task)
}

/// The nodes that may hold the task in a ring: all of them for the routing mesh, else those with a task on one of its
/// networks.
fn holders<'a>(state: &'a State, task: &Task) -> BTreeSet<&'a NodeId> {
    let ingress = state.ingress_network().map(|network| &network.id);
    if task.attachments.iter().any(|attachment| Some(&attachment.network) == ingress) {
        return state.nodes().keys().collect();
    }
    let shares_network = |other: &Task| {
        let on = |network| task.attachments.iter().any(|attachment| &attachment.network == network);
        other.attachments.iter().any(|attachment| on(&attachment.network))
    };
    let takes_part =
        |node: &&NodeId| state.tasks_of_node(node).any(|other| is_the_nodes(other) && shares_network(other));
    state.nodes().keys().filter(takes_part).collect()
}
