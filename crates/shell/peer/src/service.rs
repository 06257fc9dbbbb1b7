//! What a manager answers. The daemon implements it; who may call what is checked before it is asked.

use crate::{
    Frame, Hello, JoinReply, JoinRequest, ManagerJoin, ManagerJoined, ManagerMessage, NodeMessage,
    PeerIdentity, ProposeReply, RelayRequest, RenewReply, RenewRequest,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use shoal_store::Batch;
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::Status;
use tonic::metadata::MetadataValue;

/// What arrives from the other side, until it ends or fails.
pub type Inbound<T> = BoxStream<'static, Result<T, Status>>;
/// What is sent to the other side; an error ends the call with it.
pub type Outbound<T> = BoxStream<'static, Result<T, Status>>;

/// What a manager answers. `peer` has shown a valid certificate of this cluster, with a manager's role where the call
/// needs one; whether the node still belongs to the cluster is for the implementation to check.
#[async_trait]
pub trait ManagerService: Send + Sync + 'static {
    /// A machine wants to become a node. Nothing is known of it but its token.
    async fn join(&self, request: JoinRequest, remote: SocketAddr) -> Result<JoinReply, Status>;

    /// A node wants a new certificate.
    async fn renew(&self, peer: Arc<PeerIdentity>, request: RenewRequest) -> Result<RenewReply, Status>;

    /// A manager wants to take part in the consensus group. Managers only.
    async fn join_managers(
        &self,
        peer: Arc<PeerIdentity>,
        request: ManagerJoin,
    ) -> Result<ManagerJoined, Status>;

    /// A write that another manager forwards. Managers only.
    async fn propose(&self, peer: Arc<PeerIdentity>, batch: Batch) -> Result<ProposeReply, Status>;

    /// A node's session; [`crate::drive_session`] does most of it. The protocol's version has been checked.
    async fn session(
        &self,
        peer: Arc<PeerIdentity>,
        remote: SocketAddr,
        hello: Hello,
        inbound: Inbound<NodeMessage>,
    ) -> Result<Outbound<ManagerMessage>, Status>;

    /// A message of the consensus library. Managers only.
    async fn raft(&self, peer: Arc<PeerIdentity>, message: Bytes) -> Result<Bytes, Status>;

    /// A node answers a request for a stream; [`crate::Broker::accept`] does all of it.
    async fn stream(
        &self,
        peer: Arc<PeerIdentity>,
        id: String,
        inbound: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status>;

    /// Another manager wants a stream from a node whose session is here; [`crate::Broker::relay`] does most of it.
    /// Managers only.
    async fn relay(
        &self,
        peer: Arc<PeerIdentity>,
        request: RelayRequest,
        inbound: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status>;
}

const LEADER_HEADER: &str = "shoal-leader";

/// The answer of a manager that does not lead: the caller goes to `leader` (`address:port`) if that is known, else it
/// tries again. (The words are Docker's.)
pub fn not_leader(leader: Option<&str>) -> Status {
    let mut status = Status::unavailable(
        "The swarm does not have a leader. It's possible that too few managers are online. \
         Make sure more than half of the managers are online.",
    );
    if let Some(leader) = leader {
        status = Status::unavailable(format!("this manager does not lead, the manager at {leader} does"));
        if let Ok(value) = MetadataValue::try_from(leader) {
            status.metadata_mut().insert(LEADER_HEADER, value);
        }
    }
    status
}

/// Whom a manager that does not lead points to.
pub fn leader_of(status: &Status) -> Option<String> {
    status.metadata().get(LEADER_HEADER)?.to_str().ok().map(str::to_owned)
}
