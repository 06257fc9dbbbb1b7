//! A manager on loopback that keeps everything in memory.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use async_trait::async_trait;
use bytes::Bytes;
use shoal_model::cluster::JoinTokens;
use shoal_model::node::NodeRole;
use shoal_model::{Assignment, ClusterId, NodeId, Timestamp};
use shoal_peer::{
    Broker, Code, Connector, Credentials, Frame, Hello, Identity, Inbound, JoinReply, JoinRequest, JoinToken,
    ManagerJoin, ManagerJoined, ManagerMessage, ManagerService, NodeKey, NodeMessage, Outbound, PeerIdentity,
    ProposeReply, RelayRequest, RenewReply, RenewRequest, RootCa, SessionInputs, Status, drive_session,
    not_leader, role_of_token, serve,
};
use shoal_store::Batch;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const LIFE: Duration = Duration::from_hours(90 * 24);

pub(crate) fn now() -> Timestamp {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    Timestamp(i64::try_from(nanos).unwrap())
}

pub(crate) fn days_ago(days: i64) -> Timestamp {
    Timestamp(now().0 - days * 86_400 * 1_000_000_000)
}

/// A cluster: its root, its tokens.
pub(crate) struct Cluster {
    pub(crate) root: RootCa,
    pub(crate) id: ClusterId,
    pub(crate) tokens: JoinTokens,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let root = RootCa::generate(now()).unwrap();
        let token = || JoinToken::generate(root.digest()).to_string();
        let tokens = JoinTokens { worker: token(), manager: token() };
        Self { tokens, id: ClusterId::from_random(rand::random()), root }
    }

    pub(crate) fn identity(&self, node: &NodeId, role: NodeRole) -> Identity {
        self.identity_of(node, role, now())
    }

    /// As it would have been signed at another time.
    pub(crate) fn identity_of(&self, node: &NodeId, role: NodeRole, at: Timestamp) -> Identity {
        let key = NodeKey::generate().unwrap();
        let csr = key.signing_request().unwrap();
        let certificate = self.root.sign(&csr, node, role, &self.id, LIFE, at).unwrap();
        Identity::new(&key, certificate, self.root.certificate().to_owned()).unwrap()
    }

    pub(crate) fn connector(&self, node: &NodeId, role: NodeRole) -> Connector {
        Connector::new(Credentials::new(self.identity(node, role)).unwrap())
    }
}

/// What a manager saw of one session.
pub(crate) struct Session {
    pub(crate) peer: Arc<PeerIdentity>,
    pub(crate) hello: Hello,
    pub(crate) events: mpsc::Receiver<NodeMessage>,
    pub(crate) say: mpsc::Sender<ManagerMessage>,
}

/// What the manager answers with.
pub(crate) struct Brain {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) managers: watch::Sender<Vec<String>>,
    pub(crate) assignments: watch::Sender<Arc<Assignment>>,
    pub(crate) heartbeat: watch::Sender<Duration>,
    pub(crate) broker: Broker,
    /// Whom it points to if it does not lead.
    pub(crate) leader: Mutex<Option<String>>,
    /// The role that renewed certificates get, if not the one that they had.
    pub(crate) promote: Mutex<Option<NodeRole>>,
    pub(crate) joins: Mutex<Vec<JoinRequest>>,
    pub(crate) batches: Mutex<Vec<Batch>>,
    says: Mutex<Vec<(NodeId, mpsc::Sender<ManagerMessage>)>>,
    sessions: mpsc::UnboundedSender<Session>,
}

impl Brain {
    fn check_leads(&self) -> Result<(), Status> {
        match &*self.leader.lock().unwrap() {
            Some(leader) => Err(not_leader(Some(leader))),
            None => Ok(()),
        }
    }

    fn say_to(&self, node: &NodeId) -> Option<mpsc::Sender<ManagerMessage>> {
        let says = self.says.lock().unwrap();
        says.iter().rev().find(|(to, _)| to == node).map(|(_, say)| say.clone())
    }

    fn sign(&self, csr: &str, node: &NodeId, role: NodeRole) -> Result<String, Status> {
        let signed = self.cluster.root.sign(csr, node, role, &self.cluster.id, LIFE, now());
        signed.map_err(|e| Status::invalid_argument(e.to_string()))
    }
}

#[async_trait]
impl ManagerService for Brain {
    async fn join(&self, request: JoinRequest, _: SocketAddr) -> Result<JoinReply, Status> {
        self.check_leads()?;
        let role = role_of_token(&request.token, &self.cluster.tokens).ok_or_else(|| {
            Status::invalid_argument("A valid join token is necessary to join this cluster")
        })?;
        let node_id = NodeId::from_random(rand::random());
        let certificate = self.sign(&request.csr_pem, &node_id, role)?;
        self.joins.lock().unwrap().push(request);
        Ok(JoinReply {
            node_id,
            cluster_id: self.cluster.id.clone(),
            role,
            certificate,
            root_ca: self.cluster.root.certificate().to_owned(),
            managers: self.managers.borrow().clone(),
        })
    }

    async fn renew(&self, peer: Arc<PeerIdentity>, request: RenewRequest) -> Result<RenewReply, Status> {
        let role = self.promote.lock().unwrap().unwrap_or(peer.role);
        let certificate = self.sign(&request.csr_pem, &peer.node, role)?;
        Ok(RenewReply { certificate, root_ca: self.cluster.root.certificate().to_owned() })
    }

    async fn join_managers(
        &self,
        _: Arc<PeerIdentity>,
        request: ManagerJoin,
    ) -> Result<ManagerJoined, Status> {
        Ok(ManagerJoined { raft_id: 7, managers: vec![request.addr] })
    }

    async fn propose(&self, _: Arc<PeerIdentity>, batch: Batch) -> Result<ProposeReply, Status> {
        self.check_leads()?;
        let mut batches = self.batches.lock().unwrap();
        batches.push(batch);
        Ok(ProposeReply::Applied(batches.len() as u64))
    }

    async fn session(
        &self,
        peer: Arc<PeerIdentity>,
        _: SocketAddr,
        hello: Hello,
        inbound: Inbound<NodeMessage>,
    ) -> Result<Outbound<ManagerMessage>, Status> {
        self.check_leads()?;
        let (say, further) = mpsc::channel(16);
        let (events, seen) = mpsc::channel(64);
        self.says.lock().unwrap().push((peer.node.clone(), say.clone()));
        let _ = self.sessions.send(Session { peer, hello, events: seen, say });
        let inputs = SessionInputs {
            heard: Box::new(|| {}),
            assignments: self.assignments.subscribe(),
            managers: self.managers.subscribe(),
            heartbeat_period: self.heartbeat.subscribe(),
            further,
            events,
        };
        Ok(drive_session(inputs, inbound))
    }

    async fn raft(&self, _: Arc<PeerIdentity>, message: Bytes) -> Result<Bytes, Status> {
        Ok(message.iter().rev().copied().collect::<Vec<u8>>().into())
    }

    async fn stream(
        &self,
        peer: Arc<PeerIdentity>,
        id: String,
        inbound: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status> {
        self.broker.accept(&peer, &id, inbound)
    }

    async fn relay(
        &self,
        _: Arc<PeerIdentity>,
        request: RelayRequest,
        inbound: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status> {
        let say =
            self.say_to(&request.node).ok_or_else(|| Status::unavailable("no session with that node"))?;
        let stream = self.broker.open(&request.node, request.kind, &say).await;
        Ok(stream.map_err(|e| Status::unavailable(e.to_string()))?.relay(inbound))
    }
}

/// A manager that serves; stops when dropped.
pub(crate) struct Manager {
    pub(crate) addr: String,
    pub(crate) brain: Arc<Brain>,
    pub(crate) credentials: Credentials,
    pub(crate) sessions: mpsc::UnboundedReceiver<Session>,
    pub(crate) serving: tokio::task::JoinHandle<()>,
    pub(crate) stop: CancellationToken,
    _stop_at_the_end: DropGuard,
}

impl Manager {
    pub(crate) async fn start(cluster: &Arc<Cluster>) -> Self {
        let node = NodeId::from_random(rand::random());
        Self::start_as(cluster, cluster.identity(&node, NodeRole::Manager)).await
    }

    pub(crate) async fn start_as(cluster: &Arc<Cluster>, identity: Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (sessions, seen) = mpsc::unbounded_channel();
        let brain = Arc::new(Brain {
            cluster: Arc::clone(cluster),
            managers: watch::Sender::new(vec![addr.clone()]),
            assignments: watch::Sender::default(),
            heartbeat: watch::Sender::new(Duration::from_secs(1)),
            broker: Broker::default(),
            leader: Mutex::default(),
            promote: Mutex::default(),
            joins: Mutex::default(),
            batches: Mutex::default(),
            says: Mutex::default(),
            sessions,
        });
        let credentials = Credentials::new(identity).unwrap();
        let stop = CancellationToken::new();
        let (service, shown, until) = (Arc::clone(&brain), credentials.clone(), stop.clone());
        let serving = tokio::spawn(async move { serve(listener, shown, service, until).await.unwrap() });
        let guard = stop.clone().drop_guard();
        Self { addr, brain, credentials, sessions: seen, serving, stop, _stop_at_the_end: guard }
    }

    pub(crate) async fn next_session(&mut self) -> Session {
        within(self.sessions.recv()).await.unwrap()
    }
}

/// Fails the test if it takes too long.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}

/// Polls until it holds.
pub(crate) async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, shoal_peer::PeerError>) -> (Code, String) {
    match outcome {
        Err(shoal_peer::PeerError::Refused(status)) => (status.code(), status.message().to_owned()),
        other => panic!("it should have been refused: {other:?}"),
    }
}
