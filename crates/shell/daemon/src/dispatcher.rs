//! A manager's answers to nodes: joining, renewing, sessions, streams, and the managers' own traffic.

use crate::entropy;
use crate::manager::{Manager, WriteError};
use crate::supervise::Supervisor;
use async_trait::async_trait;
use bytes::Bytes;
use shoal_control::assign;
use shoal_model::node::{Node, NodeDescription, NodeRole, NodeSpec, NodeState, NodeStatus};
use shoal_model::task::Owner;
use shoal_model::{Assignment, Meta, NodeId};
use shoal_peer::{
    Frame, Hello, Inbound, JoinReply, JoinRequest, ManagerJoin, ManagerJoined, ManagerMessage,
    ManagerService, NodeMessage, Outbound, PeerIdentity, ProposeReply, RelayRequest, RemoteStream,
    RenewReply, RenewRequest, RootCa, SessionInputs, Status, StreamKind, drive_session, not_leader,
    role_of_token,
};
use shoal_raft::Member;
use shoal_store::{Change, Object, State};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Messages of one node that wait to be handled.
const QUEUE: usize = 64;
/// A node's assignment is computed anew at least this often.
const PERIOD: Duration = Duration::from_secs(5);
/// Versions of an assignment that a node may be behind and still be understood when it says what it holds.
const VERSIONS: usize = 100;
/// A write that loses a race is tried this often.
const WRITE_TRIES: usize = 10;
/// Reports that could not be written are tried again after this time.
const WRITE_AGAIN: Duration = Duration::from_millis(500);

/// The manager as nodes see it.
pub(crate) struct Dispatcher {
    pub(crate) manager: Arc<Manager>,
    /// Ends with the membership.
    group: Supervisor,
    /// How to speak to each node that has a session here.
    sessions: Mutex<BTreeMap<NodeId, mpsc::Sender<ManagerMessage>>>,
}

impl Dispatcher {
    /// No node is connected yet.
    pub(crate) fn new(manager: Arc<Manager>, group: Supervisor) -> Self {
        Self { manager, group, sessions: Mutex::default() }
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<NodeId, mpsc::Sender<ManagerMessage>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream to a node that has its session here.
    pub(crate) async fn open(&self, node: &NodeId, kind: StreamKind) -> Result<RemoteStream, Status> {
        let say = self.sessions().get(node).cloned();
        let say = say.ok_or_else(|| Status::unavailable(format!("node {node} is not connected")))?;
        self.manager.broker.open(node, kind, &say).await.map_err(|e| Status::unavailable(e.to_string()))
    }

    /// Only the leader talks to nodes.
    fn leading(&self) -> Result<Arc<State>, Status> {
        let leadership = self.manager.log.leadership().borrow().clone();
        if leadership.is_leader {
            return Ok(self.manager.log.state());
        }
        Err(not_leader(leadership.leader.map(|l| l.addr).as_deref()))
    }

    /// Writes a joining manager's number and address down; answers the number.
    async fn number_for(&self, joining: &NodeId, request: &ManagerJoin) -> Result<u64, Status> {
        // Whatever else writes the node at the same time (its session, the control loop) is not in the way for long.
        let mut refused = Status::unavailable("the node is being changed");
        for _ in 0..WRITE_TRIES {
            let state = self.leading()?;
            let mut node = Node::clone(known_node(&state, joining)?);
            let next = state.nodes().values().filter_map(|n| n.raft_id).max().unwrap_or(0) + 1;
            let raft_id = request.raft_id.or(node.raft_id).unwrap_or(next);
            node.raft_id = Some(raft_id);
            node.manager_addr = Some(request.addr.clone());
            match self.write(vec![Change::Update(Object::from(node))]).await {
                Ok(_) => return Ok(raft_id),
                Err(status) if status.code() == shoal_peer::Code::FailedPrecondition => refused = status,
                Err(status) => return Err(status),
            }
        }
        Err(refused)
    }

    async fn write(&self, changes: Vec<Change>) -> Result<u64, Status> {
        self.manager.write(changes, entropy::now()).await.map_err(|error| match error {
            WriteError::Rejected(rejected) => Status::failed_precondition(rejected.to_string()),
            WriteError::NoLeader => not_leader(None),
            WriteError::Other(text) => Status::internal(text),
        })
    }

    fn sign(state: &State, csr: &str, node: &NodeId, role: NodeRole) -> Result<(String, String), Status> {
        let cluster = state.cluster().ok_or_else(|| Status::unavailable("the swarm is not set up yet"))?;
        let root = RootCa::load(cluster.root_ca.clone(), cluster.root_ca_key.clone());
        let root = root.map_err(|e| Status::internal(e.to_string()))?;
        let life = Duration::from_nanos(cluster.spec.ca_config.node_cert_expiry.unsigned_abs());
        let signed = root.sign(csr, node, role, &cluster.id, life, entropy::now());
        Ok((signed.map_err(|e| Status::invalid_argument(e.to_string()))?, root.certificate().to_owned()))
    }
}

/// Addresses of all managers, the leader's first.
pub(crate) fn manager_addresses(manager: &Manager) -> Vec<String> {
    let leadership = manager.log.leadership().borrow().clone();
    let mut members = leadership.members;
    members.sort_by_key(|m| !m.leader);
    members.into_iter().map(|m| m.member.addr).collect()
}

#[async_trait]
impl ManagerService for Dispatcher {
    async fn join(&self, request: JoinRequest, remote: SocketAddr) -> Result<JoinReply, Status> {
        let state = self.leading()?;
        let cluster = state.cluster().ok_or_else(|| Status::unavailable("the swarm is not set up yet"))?;
        let role = role_of_token(&request.token, &cluster.join_tokens);
        let role = role.ok_or_else(|| Status::permission_denied("invalid join token"))?;
        let id = NodeId::from_random(entropy::random_id());
        let (certificate, root_ca) = Self::sign(&state, &request.csr_pem, &id, role)?;
        let node = joining_node(&id, role, &request, remote.ip());
        self.write(vec![Change::Create(Object::from(node))]).await?;
        tracing::info!(node = %id, hostname = request.hostname, ?role, "joined");
        Ok(JoinReply {
            node_id: id,
            cluster_id: cluster.id.clone(),
            role,
            certificate,
            root_ca,
            managers: manager_addresses(&self.manager),
        })
    }

    async fn renew(&self, peer: Arc<PeerIdentity>, request: RenewRequest) -> Result<RenewReply, Status> {
        let state = self.leading()?;
        let node = known_node(&state, &peer.node)?;
        let (certificate, root_ca) = Self::sign(&state, &request.csr_pem, &peer.node, node.spec.role)?;
        Ok(RenewReply { certificate, root_ca })
    }

    async fn join_managers(
        &self,
        peer: Arc<PeerIdentity>,
        request: ManagerJoin,
    ) -> Result<ManagerJoined, Status> {
        let raft_id = self.number_for(&peer.node, &request).await?;
        let member = Member { raft_id, node_id: peer.node.clone(), addr: request.addr };
        // The new manager opens its log with the number that it is told here, and is then let in.
        self.group.spawn(let_in(self.manager.clone(), member));
        Ok(ManagerJoined { raft_id, managers: manager_addresses(&self.manager) })
    }

    async fn propose(
        &self,
        _peer: Arc<PeerIdentity>,
        batch: shoal_store::Batch,
    ) -> Result<ProposeReply, Status> {
        self.leading()?;
        match self.manager.write(batch.changes, batch.now).await {
            Ok(index) => Ok(ProposeReply::Applied(index)),
            Err(WriteError::Rejected(rejected)) => Ok(ProposeReply::Rejected(*rejected)),
            Err(WriteError::NoLeader) => Err(not_leader(None)),
            Err(WriteError::Other(text)) => Err(Status::internal(text)),
        }
    }

    async fn session(
        &self,
        peer: Arc<PeerIdentity>,
        remote: SocketAddr,
        hello: Hello,
        inbound: Inbound<NodeMessage>,
    ) -> Result<Outbound<ManagerMessage>, Status> {
        let state = self.leading()?;
        let node = known_node(&state, &peer.node)?.id.clone();
        self.manager.heard_of(&node);
        self.write(vec![introduction(&node, &hello, remote.ip())]).await?;
        let (say, further) = mpsc::channel(QUEUE);
        let (events, heard) = mpsc::channel(QUEUE);
        let state = self.manager.log.state();
        let assignments = watch::Sender::new(Arc::new(assign(&state, &self.manager.liveness(), &node)));
        let managers = watch::Sender::new(manager_addresses(&self.manager));
        let period = watch::Sender::new(shoal_control::heartbeat_period(&state));
        let (heard_by, of) = (self.manager.clone(), node.clone());
        let inputs = SessionInputs {
            heard: Box::new(move || heard_by.heard_of(&of)),
            assignments: assignments.subscribe(),
            managers: managers.subscribe(),
            heartbeat_period: period.subscribe(),
            further,
            events,
        };
        let mut sessions = self.sessions();
        sessions.retain(|_, say| !say.is_closed());
        sessions.insert(node.clone(), say);
        drop(sessions);
        self.manager.unsettled(&node);
        let serving = Serving {
            manager: self.manager.clone(),
            node,
            assignments,
            managers,
            period,
            valid_until: BTreeMap::new(),
            holds: 0,
        };
        self.group.spawn(serving.run(heard));
        Ok(drive_session(inputs, inbound))
    }

    async fn raft(&self, _peer: Arc<PeerIdentity>, message: Bytes) -> Result<Bytes, Status> {
        let answer = self.manager.raft.handle(&message).await;
        answer.map(Bytes::from).map_err(|e| Status::unavailable(e.to_string()))
    }

    async fn stream(
        &self,
        peer: Arc<PeerIdentity>,
        id: String,
        inbound: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status> {
        self.manager.broker.accept(&peer, &id, inbound)
    }

    async fn relay(
        &self,
        _peer: Arc<PeerIdentity>,
        request: RelayRequest,
        inbound: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status> {
        Ok(self.open(&request.node, request.kind).await?.relay(inbound))
    }
}

/// Lets a manager take part, as soon as it answers and as long as this manager leads.
async fn let_in(manager: Arc<Manager>, member: Member) {
    while manager.log.leadership().borrow().is_leader {
        match manager.log.add_voter(member.clone()).await {
            Ok(()) => return tracing::info!(node = %member.node_id, "is a manager now"),
            Err(error) => tracing::warn!(node = %member.node_id, %error, "cannot become a manager yet"),
        }
        tokio::time::sleep(WRITE_AGAIN).await;
    }
}

fn known_node<'a>(state: &'a State, node: &NodeId) -> Result<&'a Arc<Node>, Status> {
    let found = state.nodes().get(node);
    found.ok_or_else(|| Status::permission_denied(format!("node {node} is not part of this swarm any more")))
}

fn joining_node(id: &NodeId, role: NodeRole, request: &JoinRequest, remote: IpAddr) -> Node {
    let advertised = host_of(&request.advertise_addr).unwrap_or(remote);
    Node {
        id: id.clone(),
        meta: Meta::default(),
        spec: NodeSpec { role, availability: request.availability, ..NodeSpec::default() },
        description: NodeDescription { hostname: request.hostname.clone(), ..NodeDescription::default() },
        status: NodeStatus {
            state: NodeState::Unknown,
            addr: advertised.to_string(),
            data_path_addr: request.data_path_addr,
            ..NodeStatus::default()
        },
        manager_addr: None,
        raft_id: None,
        attachments: BTreeMap::new(),
        certificate_digest: String::new(),
    }
}

/// What a node says of itself when its session begins.
fn introduction(node: &NodeId, hello: &Hello, remote: IpAddr) -> Change {
    let addr = host_of(&hello.addr).unwrap_or(remote);
    Change::ReportNode {
        id: node.clone(),
        description: Some(Box::new(hello.description.clone())),
        status: Some(NodeStatus {
            state: NodeState::Ready,
            message: String::new(),
            addr: addr.to_string(),
            data_path_addr: hello.data_path_addr,
            since: entropy::now(),
        }),
    }
}

/// The address in `address` or `address:port`.
pub(crate) fn host_of(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))
}

/// What goes on beside an open session: assignments in, reports out.
struct Serving {
    manager: Arc<Manager>,
    node: NodeId,
    assignments: watch::Sender<Arc<Assignment>>,
    managers: watch::Sender<Vec<String>>,
    period: watch::Sender<Duration>,
    /// Up to which log index each of the last assignments was what the node should hold, by version: later entries may
    /// have been no news to the node.
    valid_until: BTreeMap<u64, u64>,
    /// The version that the node has received in this session and holds in full; 0 before the first.
    holds: u64,
}

impl Serving {
    /// Lasts until the session is over.
    async fn run(mut self, mut heard: mpsc::Receiver<NodeMessage>) {
        let mut applied = self.manager.log.applied();
        let mut leadership = self.manager.log.leadership();
        let mut liveness = self.manager.heard.subscribe();
        loop {
            tokio::select! {
                message = heard.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => break,
                },
                changed = applied.changed() => if changed.is_err() { break },
                changed = liveness.changed() => if changed.is_err() { break },
                changed = leadership.changed() => {
                    // Dropping the senders ends the session; the node looks for the new leader.
                    if changed.is_err() || !leadership.borrow_and_update().is_leader { break }
                }
                () = tokio::time::sleep(PERIOD) => {}
            }
            if !self.refresh() {
                break;
            }
        }
        tracing::info!(node = %self.node, "session over");
        self.manager.suspect(&self.node);
    }

    /// Computes what the node should hold now; false once the node is no longer part of the swarm.
    fn refresh(&mut self) -> bool {
        let state = self.manager.log.state();
        if !state.nodes().contains_key(&self.node) {
            return false;
        }
        let mut wanted = assign(&state, &self.manager.liveness(), &self.node);
        self.assignments.send_if_modified(|current| {
            let changed = !same_but_version(current, &wanted);
            if changed {
                // Suspicion is not in the log; what the node says of a version must be said of one content.
                wanted.version = wanted.version.max(current.version + 1);
                *current = Arc::new(wanted);
            }
            changed
        });
        self.valid_until.insert(self.assignments.borrow().version, state.index());
        while self.valid_until.len() > VERSIONS {
            self.valid_until.pop_first();
        }
        if let Some(index) = self.valid_until.get(&self.holds) {
            self.manager.settled(&self.node, *index);
        }
        let managers = manager_addresses(&self.manager);
        self.managers.send_if_modified(|current| std::mem::replace(current, managers.clone()) != managers);
        let period = shoal_control::heartbeat_period(&state);
        self.period.send_if_modified(|current| std::mem::replace(current, period) != period);
        true
    }

    async fn handle(&mut self, message: NodeMessage) {
        let change = match message {
            NodeMessage::Reports(reports) => Change::ReportTasks { owner: Owner::Agent, reports },
            NodeMessage::Description(description) => {
                Change::ReportNode { id: self.node.clone(), description: Some(description), status: None }
            }
            NodeMessage::Heartbeat { received, progress } => {
                if progress.applied <= received {
                    self.holds = progress.applied;
                }
                return self.manager.holdings.told(&self.node, progress);
            }
            NodeMessage::Connections(connections) => {
                return self.manager.connections_of(&self.node, connections);
            }
            NodeMessage::Hello(_) | NodeMessage::Alive | NodeMessage::NeedAssignment => return,
        };
        // A report must not be lost while this manager leads: the node says it once a session.
        while let Err(error) = self.manager.write(vec![change.clone()], entropy::now()).await {
            tracing::warn!(node = %self.node, ?error, "a report could not be written");
            if matches!(error, WriteError::Rejected(_)) || !self.manager.log.leadership().borrow().is_leader {
                return;
            }
            tokio::time::sleep(WRITE_AGAIN).await;
        }
    }
}

/// The version moves with every write anywhere; alone it is no news to a node.
fn same_but_version(a: &Assignment, b: &Assignment) -> bool {
    a.tasks == b.tasks && a.networks == b.networks && a.secrets == b.secrets && a.configs == b.configs
}
