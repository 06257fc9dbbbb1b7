//! Which nodes can be counted on.

use crate::connections::ClusterConnections;
use crate::draft::Draft;
use crate::plan::Report;
use shoal_model::cluster::Dispatcher;
use shoal_model::node::NodeState;
use shoal_model::{Node, NodeId, TaskId, Timestamp};
use shoal_store::{Change, State};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A node is down after this many heartbeat periods of silence (swarmkit `DefaultGracePeriodMultiplier`).
const GRACE_PERIODS: u32 = 3;

/// A node says every 200 ms that it is alive (`shoal_peer::ALIVE_PERIOD`). One that was heard is suspected after this
/// time of silence: three of its words are missing.
const PATIENCE: Duration = Duration::from_millis(650);
/// A new leader gives the nodes this time to find it.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);
/// A manager that has not looked for so long was not awake to hear.
const PAUSE: Duration = Duration::from_millis(250);

/// What came of a look for silent nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Suspicion {
    /// Whether a node is suspected now that was not before.
    pub news: bool,
    /// When the next node is, if it stays silent.
    pub next: Option<Timestamp>,
}

/// What the leader has heard. It is not replicated: a new leader starts with nothing but `leader_since`, and gives every
/// node one grace period to be heard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Liveness {
    /// When each node was last heard. A node that left in order is taken out.
    pub last_heartbeat: BTreeMap<NodeId, Timestamp>,
    /// Since when this manager leads.
    pub leader_since: Timestamp,
    /// Nodes that may be gone: their session broke off, or they are silent. Their tasks get no new connections; nothing
    /// else happens to them.
    pub suspected: BTreeSet<NodeId>,
    /// The connections that the nodes give to tasks.
    pub connections: ClusterConnections,
    /// When this manager last looked for silent nodes; never before the first time.
    pub looked_at: Timestamp,
    /// Since when it has looked without a pause of its own.
    pub listening_since: Timestamp,
    /// Up to which log index each node has settled what concerns it: what it holds, in the kernel too, is what it
    /// should hold by the state of that index.
    pub settled: BTreeMap<NodeId, u64>,
    /// Tasks that are to stop and that no node gives new connections any more.
    pub withdrawn: BTreeSet<TaskId>,
}

impl Liveness {
    /// Notes that a node was heard; it is no longer suspected.
    pub fn heard(&mut self, node: &NodeId, now: Timestamp) {
        self.last_heartbeat.insert(node.clone(), now);
        self.suspected.remove(node);
    }

    /// Suspects every node that has been silent for too long. To be called every 100 ms or so, and at the time answered.
    pub fn suspect_silent(&mut self, state: &State, now: Timestamp) -> Suspicion {
        // Whoever sleeps hears nobody: silence counts from when this manager was awake again.
        if now.since(self.looked_at) > PAUSE {
            self.listening_since = now;
        }
        self.looked_at = now;
        let mut suspicion = Suspicion::default();
        for node in state.nodes().values().filter(|node| node.status.state == NodeState::Ready) {
            if self.suspected.contains(&node.id) {
                continue;
            }
            let due = match self.last_heartbeat.get(&node.id) {
                Some(heard) => (*heard).max(self.listening_since).plus(PATIENCE),
                None => self.leader_since.max(self.listening_since).plus(FIRST_PATIENCE),
            };
            if now >= due {
                suspicion.news |= self.suspected.insert(node.id.clone());
            } else {
                suspicion.next = Some(suspicion.next.map_or(due, |next| next.min(due)));
            }
        }
        suspicion
    }

    /// When a node was last heard, or when this manager began to listen.
    pub(crate) fn last_seen(&self, node: &NodeId) -> Timestamp {
        self.last_heartbeat.get(node).copied().unwrap_or_default().max(self.leader_since)
    }
}

/// The time between heartbeats.
pub fn heartbeat_period(state: &State) -> Duration {
    let asked = state.cluster().map_or(0, |cluster| cluster.spec.dispatcher.heartbeat_period);
    let nanos = if asked > 0 { asked } else { Dispatcher::default().heartbeat_period };
    Duration::from_nanos(nanos.unsigned_abs())
}

/// Marks nodes down that have been silent for the grace period, and ready that were heard within it.
pub(crate) fn watch(draft: &mut Draft<'_>, liveness: &Liveness) {
    let grace = heartbeat_period(draft.state()) * GRACE_PERIODS;
    let mut changes = Vec::new();
    let mut due = Vec::new();
    for node in draft.state().nodes().values() {
        let silent_at = liveness.last_seen(&node.id).plus(grace);
        let heard = liveness.last_heartbeat.contains_key(&node.id);
        if draft.now() >= silent_at {
            changes.extend(mark_down(node));
        } else {
            due.push(silent_at);
            if heard && node.status.state != NodeState::Ready {
                changes.push((mark(node, NodeState::Ready, ""), Report::NodeReady { node: node.id.clone() }));
            }
        }
    }
    for at in due {
        draft.look_again(at);
    }
    for (change, report) in changes {
        draft.make(change);
        draft.report(report);
    }
}

fn mark_down(node: &Node) -> Option<(Change, Report)> {
    let down = matches!(node.status.state, NodeState::Down | NodeState::Disconnected);
    (!down).then(|| {
        (mark(node, NodeState::Down, "heartbeat failure"), Report::NodeDown { node: node.id.clone() })
    })
}

fn mark(node: &Node, state: NodeState, message: &str) -> Change {
    Change::SetNodeState { id: node.id.clone(), state, message: message.to_owned() }
}

/// Whether a node's silence is certain.
pub(crate) fn is_down(node: &Node) -> bool {
    matches!(node.status.state, NodeState::Down | NodeState::Disconnected)
}
