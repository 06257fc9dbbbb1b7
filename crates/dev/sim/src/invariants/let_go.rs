//! No task is stopped while a node that is heard still gives it new connections. Nodes that were silent when the task was
//! withdrawn may: nobody can tell whether they are there at all.

use super::Broken;
use crate::host::Host;
use shoal_control::Liveness;
use shoal_model::{NodeId, TaskId, Timestamp};
use shoal_store::State;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NAME: &str = "let_go";
/// The longest silence of a node that is waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// The nodes that were silent when a task was withdrawn, under any leader.
#[derive(Debug, Default)]
pub(super) struct Memory {
    silent: BTreeMap<TaskId, BTreeSet<NodeId>>,
    seen: BTreeSet<TaskId>,
}

impl Memory {
    pub(super) fn withdrawn(&mut self, now: Timestamp, state: &State, liveness: &Liveness) {
        let heard = |node: &&NodeId| {
            let heard = liveness.last_heartbeat.get(*node).copied().unwrap_or_default();
            now.since(heard.max(liveness.leader_since)) <= SILENCE
        };
        let silent = || state.nodes().keys().filter(|node| !heard(node)).cloned();
        for task in liveness.withdrawn.difference(&self.seen) {
            self.silent.entry(task.clone()).or_default().extend(silent());
        }
        self.seen.clone_from(&liveness.withdrawn);
    }

    pub(super) fn check(&self, tasks: &[TaskId], hosts: &BTreeMap<NodeId, Host>) -> Result<(), Broken> {
        for task in tasks {
            let silent = |host: &&Host| self.silent.get(task).is_some_and(|silent| silent.contains(&host.id));
            let heard = hosts.values().filter(|host| host.up && !silent(host));
            if let Some(host) = heard.into_iter().find(|host| gives_connections(host, task)) {
                let how = format!("task {task} is stopped while {} gives it new connections", host.name);
                return Err(Broken { invariant: NAME, how });
            }
        }
        Ok(())
    }
}

/// Whether the task has a share on a network that something on the host uses.
fn gives_connections(host: &Host, task: &TaskId) -> bool {
    let networks = host.held.iter().flat_map(|held| held.networks.values());
    let used = networks.filter(|held| held.network.spec.ingress || host.is_on(&held.network.id));
    let mut shares =
        used.flat_map(|held| held.services.values()).filter_map(|service| service.tasks.get(task));
    shares.any(|share| share.weight > 0)
}
