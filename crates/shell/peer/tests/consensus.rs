//! The replicated log over the managers' port: three managers, mutual TLS between them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_model::node::NodeRole;
use shoal_model::object::DataSpec;
use shoal_model::{Config, ConfigId, Meta, NodeId, Timestamp};
use shoal_peer::{
    Connector, Credentials, Frame, Hello, Inbound, JoinReply, JoinRequest, ManagerJoin, ManagerJoined,
    ManagerMessage, ManagerService, NodeMessage, Outbound, PeerClient, PeerError, PeerIdentity, ProposeReply,
    RelayRequest, RenewReply, RenewRequest, Status, not_leader, serve,
};
use shoal_raft::{Log, Member, Options, ProposeError, RaftLog, Transport, TransportError};
use shoal_store::{Batch, Change, Entry, Object};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use support::{Cluster, eventually, within};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Consensus messages by the managers' port.
struct ByPeer(Connector);

#[async_trait]
impl Transport for ByPeer {
    async fn send(&self, to: &Member, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let answer = async { PeerClient::new(&self.0, &to.addr)?.raft(request.into()).await }.await;
        answer.map(|bytes| bytes.to_vec()).map_err(|e| {
            let (addr, why) = (to.addr.clone(), e.to_string());
            match e {
                PeerError::Unreachable { .. } | PeerError::TimedOut { .. } => {
                    TransportError::Unreachable { addr, why }
                }
                _ => TransportError::Broken { addr, why },
            }
        })
    }
}

/// Serves consensus and forwarded writes, nothing else.
#[derive(Default)]
struct Service {
    log: OnceLock<Arc<RaftLog>>,
}

impl Service {
    fn log(&self) -> Result<&Arc<RaftLog>, Status> {
        self.log.get().ok_or_else(|| Status::unavailable("not yet"))
    }
}

fn not_here<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not in this test"))
}

#[async_trait]
impl ManagerService for Service {
    async fn join(&self, _: JoinRequest, _: SocketAddr) -> Result<JoinReply, Status> {
        not_here()
    }

    async fn renew(&self, _: Arc<PeerIdentity>, _: RenewRequest) -> Result<RenewReply, Status> {
        not_here()
    }

    async fn join_managers(&self, p: Arc<PeerIdentity>, asked: ManagerJoin) -> Result<ManagerJoined, Status> {
        let log = self.log()?;
        let raft_id = asked.raft_id.unwrap_or(0);
        let member = Member { raft_id, node_id: p.node.clone(), addr: asked.addr };
        log.add_voter(member).await.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(ManagerJoined { raft_id, managers: Vec::new() })
    }

    async fn propose(&self, _: Arc<PeerIdentity>, batch: Batch) -> Result<ProposeReply, Status> {
        match self.log()?.propose(batch).await {
            Ok(index) => Ok(ProposeReply::Applied(index)),
            Err(ProposeError::Rejected(why)) => Ok(ProposeReply::Rejected(why)),
            Err(ProposeError::NotLeader { leader }) => {
                Err(not_leader(leader.as_ref().map(|leader| leader.addr.as_str())))
            }
            Err(other) => Err(Status::unavailable(other.to_string())),
        }
    }

    async fn session(
        &self,
        _: Arc<PeerIdentity>,
        _: SocketAddr,
        _: Hello,
        _: Inbound<NodeMessage>,
    ) -> Result<Outbound<ManagerMessage>, Status> {
        not_here()
    }

    async fn raft(&self, _: Arc<PeerIdentity>, message: Bytes) -> Result<Bytes, Status> {
        let answer = self.log()?.handle(&message).await;
        answer.map(Bytes::from).map_err(|e| Status::unavailable(e.to_string()))
    }

    async fn stream(
        &self,
        _: Arc<PeerIdentity>,
        _: String,
        _: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status> {
        not_here()
    }

    async fn relay(
        &self,
        _: Arc<PeerIdentity>,
        _: RelayRequest,
        _: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status> {
        not_here()
    }
}

struct Manager {
    me: Member,
    connector: Connector,
    log: Arc<RaftLog>,
    stop: CancellationToken,
    _stop_at_the_end: DropGuard,
}

impl Manager {
    /// The first, or one that joins.
    async fn start(cluster: &Cluster, dir: &Path, raft_id: u64, by: Option<&Manager>) -> Self {
        let node_id = NodeId::from_random(u128::from(raft_id));
        let credentials = Credentials::new(cluster.identity(&node_id, NodeRole::Manager)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let me = Member { raft_id, node_id, addr: listener.local_addr().unwrap().to_string() };
        let connector = Connector::new(credentials.clone());
        let (service, stop) = (Arc::new(Service::default()), CancellationToken::new());
        tokio::spawn(serve(
            listener,
            credentials,
            Arc::clone(&service) as Arc<dyn ManagerService>,
            stop.clone(),
        ));
        let (dir, transport) = (dir.join(raft_id.to_string()), Arc::new(ByPeer(connector.clone())));
        let log = match by {
            None => {
                let first = Entry { batches: vec![batch("first")] };
                RaftLog::create(&dir, me.clone(), transport, Options::default(), first).await.unwrap()
            }
            Some(_) => RaftLog::join(&dir, me.clone(), transport, Options::default()).await.unwrap(),
        };
        let log = Arc::new(log);
        assert!(service.log.set(Arc::clone(&log)).is_ok());
        if let Some(by) = by {
            let mut client = PeerClient::new(&connector, &by.me.addr).unwrap();
            let asked = ManagerJoin { addr: me.addr.clone(), raft_id: Some(raft_id) };
            client.join_managers(asked).await.unwrap();
        }
        let guard = stop.clone().drop_guard();
        Self { me, connector, log, stop, _stop_at_the_end: guard }
    }
}

fn batch(name: &str) -> Batch {
    let number = name.bytes().fold(17_u128, |sum, byte| sum.wrapping_mul(257).wrapping_add(u128::from(byte)));
    let config = Config {
        id: ConfigId::from_random(number),
        meta: Meta::default(),
        spec: DataSpec { name: name.to_owned(), ..DataSpec::default() },
    };
    Batch { now: Timestamp(1), changes: vec![Change::Create(Object::Config(Arc::new(config)))] }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_managers_agree_over_the_port_and_forward_writes_to_the_leader() {
    let cluster = Cluster::new();
    let dir = tempfile::Builder::new().prefix("shoal-test-peer-").tempdir().unwrap();
    let first = Manager::start(&cluster, dir.path(), 1, None).await;
    let second = within(Manager::start(&cluster, dir.path(), 2, Some(&first))).await;
    let third = within(Manager::start(&cluster, dir.path(), 3, Some(&first))).await;

    // A follower is asked; it says who leads; the write goes there, and comes back by the log.
    let refused = second.log.propose(batch("forwarded")).await;
    let Err(ProposeError::NotLeader { leader: Some(leader) }) = refused else { panic!("{refused:?}") };
    let mut client = PeerClient::new(&second.connector, &leader.addr).unwrap();
    let ProposeReply::Applied(index) = client.propose(batch("forwarded")).await.unwrap() else { panic!() };
    let mut applied = second.log.applied();
    within(applied.wait_for(|at| *at >= index)).await.unwrap();
    assert_eq!(second.log.state().configs().len(), 2);
    let twice = client.propose(batch("forwarded")).await.unwrap();
    assert!(matches!(twice, ProposeReply::Rejected(shoal_store::Rejected::Exists { .. })));

    // The leader goes; the two others go on.
    first.stop.cancel();
    first.log.shutdown().await;
    let survivors = [&second, &third];
    eventually("another leader", || survivors.iter().any(|m| m.log.leadership().borrow().is_leader)).await;
    let leader = survivors.iter().find(|m| m.log.leadership().borrow().is_leader).unwrap();
    let index = within(leader.log.propose(batch("afterwards"))).await.unwrap();
    for manager in survivors {
        let mut applied = manager.log.applied();
        within(applied.wait_for(|at| *at >= index)).await.unwrap();
        assert_eq!(manager.log.state().configs().len(), 3);
    }
    second.log.shutdown().await;
    third.log.shutdown().await;
}
