//! What a node has while it is a manager: the log, and the way to write to it from wherever the leader is.

use crate::entropy;
use crate::holdings::Holdings;
use shoal_control::Liveness;
use shoal_model::assignment::Connections;
use shoal_model::node::NodeState;
use shoal_model::{NodeId, Timestamp};
use shoal_peer::{Broker, Connector, PeerClient};
use shoal_raft::{Log, ProposeError, RaftLog};
use shoal_store::{Batch, Change, Rejected};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A manager's parts.
pub(crate) struct Manager {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) raft: Arc<RaftLog>,
    pub(crate) connector: Connector,
    /// Streams from nodes: logs and exec.
    pub(crate) broker: Broker,
    /// How far the nodes have come.
    pub(crate) holdings: Holdings,
    /// Which nodes have been heard of, and when.
    liveness: Mutex<Liveness>,
    /// Whether this manager leads, and has begun to listen.
    pub(crate) leads: watch::Sender<bool>,
    /// Wakes whoever looks at the liveness.
    pub(crate) heard: watch::Sender<u64>,
}

/// Why a write did not happen.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The state refused it.
    Rejected(Box<Rejected>),
    /// Nobody leads, or too few managers are there.
    NoLeader,
    /// Something else.
    Other(String),
}

impl Manager {
    /// Puts the parts together.
    pub(crate) fn new(raft: Arc<RaftLog>, connector: Connector) -> Self {
        Self {
            log: raft.clone(),
            raft,
            connector,
            broker: Broker::default(),
            holdings: Holdings::default(),
            liveness: Mutex::new(Liveness { leader_since: entropy::now(), ..Liveness::default() }),
            leads: watch::Sender::new(false),
            heard: watch::Sender::new(0),
        }
    }

    /// Writes changes, on the leader or through it.
    pub(crate) async fn write(&self, changes: Vec<Change>, now: Timestamp) -> Result<u64, WriteError> {
        let batch = Batch { now, changes };
        match self.log.propose(batch.clone()).await {
            Ok(index) => Ok(index),
            Err(ProposeError::Rejected(rejected)) => Err(WriteError::Rejected(Box::new(rejected))),
            Err(ProposeError::NotLeader { leader: Some(leader) }) => self.forward(&leader.addr, batch).await,
            Err(ProposeError::NotLeader { leader: None } | ProposeError::NoQuorum) => {
                Err(WriteError::NoLeader)
            }
            Err(other) => Err(WriteError::Other(other.to_string())),
        }
    }

    async fn forward(&self, leader: &str, batch: Batch) -> Result<u64, WriteError> {
        let failed = |e: shoal_peer::PeerError| WriteError::Other(crate::node_loop::chain(&e));
        let mut client = PeerClient::new(&self.connector, leader).map_err(failed)?;
        match client.propose(batch).await.map_err(failed)? {
            shoal_peer::ProposeReply::Applied(index) => Ok(index),
            shoal_peer::ProposeReply::Rejected(rejected) => Err(WriteError::Rejected(Box::new(rejected))),
        }
    }

    /// A node was heard of.
    pub(crate) fn heard_of(&self, node: &NodeId) {
        let mut liveness = self.lock();
        let news = liveness.suspected.contains(node) || !liveness.last_heartbeat.contains_key(node);
        liveness.heard(node, entropy::now());
        drop(liveness);
        if news {
            self.heard.send_modify(|count| *count += 1);
        }
    }

    /// A node's session broke off: its tasks get no new connections until it is heard of again.
    pub(crate) fn suspect(&self, node: &NodeId) {
        self.holdings.forget(node);
        self.lock().suspected.insert(node.clone());
        self.heard.send_modify(|count| *count += 1);
    }

    /// A node has settled what concerns it up to a log index.
    pub(crate) fn settled(&self, node: &NodeId, index: u64) {
        let state = self.log.state();
        let mut liveness = self.lock();
        let news = liveness.settled(node, index) && liveness.withdraw(&state, entropy::now());
        drop(liveness);
        if news {
            self.heard.send_modify(|count| *count += 1);
        }
    }

    /// A node has told how many connections it gives to tasks.
    pub(crate) fn connections_of(&self, node: &NodeId, connections: Connections) {
        let news = self.lock().connections.report(node, connections);
        if news {
            self.heard.send_modify(|count| *count += 1);
        }
    }

    /// Connections given by nodes that are down are gone.
    pub(crate) fn forget_connections_of_lost_nodes(&self) {
        let state = self.log.state();
        let ready = |id: &NodeId| state.nodes().get(id).is_some_and(|n| n.status.state == NodeState::Ready);
        let news = self.lock().connections.retain(ready);
        if news {
            self.heard.send_modify(|count| *count += 1);
        }
    }

    /// A node's session has begun; what it holds is not known yet.
    pub(crate) fn unsettled(&self, node: &NodeId) {
        self.lock().unsettled(node);
    }

    /// Looks for nodes that are silent, and for tasks that need not wait for such any longer; answers when the next node
    /// falls under suspicion.
    pub(crate) fn look_for_silence(&self) -> Option<Timestamp> {
        let (state, now) = (self.log.state(), entropy::now());
        let mut liveness = self.lock();
        let suspicion = liveness.suspect_silent(&state, now);
        let withdrawn = liveness.withdraw(&state, now);
        drop(liveness);
        if suspicion.news || withdrawn {
            self.heard.send_modify(|count| *count += 1);
        }
        suspicion.next
    }

    fn lock(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the nodes' liveness now.
    pub(crate) fn liveness(&self) -> Liveness {
        self.lock().clone()
    }

    /// This manager has just become the leader: every node gets one grace period.
    pub(crate) fn leads_from_now(&self) {
        *self.lock() = Liveness { leader_since: entropy::now(), ..Liveness::default() };
    }
}
