//! The calls as a client makes them. Every call that is answered once has a deadline.

use crate::access::Call;
use crate::codec::{Frames, Json, Raw};
use crate::{
    Connector, Control, Frame, Inbound, JoinReply, JoinRequest, MESSAGE_LIMIT_BYTES, ManagerJoin,
    ManagerJoined, ManagerMessage, NodeMessage, PeerError, ProposeReply, RelayRequest, RenewReply,
    RenewRequest,
};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_store::Batch;
use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// For calls that are answered once. Longer than a manager's own deadline for a write.
const DEADLINE: Duration = Duration::from_secs(20);
/// For the answer to the first words of a session.
const SESSION_DEADLINE: Duration = Duration::from_secs(5);

/// The calls to one manager.
#[derive(Clone)]
pub struct PeerClient {
    grpc: Grpc<Channel>,
    addr: String,
}

impl PeerClient {
    /// Calls to the manager at `address:port`, over a connection that all callers share.
    pub fn new(connector: &Connector, addr: &str) -> Result<Self, PeerError> {
        Ok(Self::over(connector.channel(addr)?, addr))
    }

    pub(crate) fn over(channel: Channel, addr: &str) -> Self {
        // What is sent is limited where it is received: only then the sender hears why.
        let grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_LIMIT_BYTES);
        Self { grpc, addr: addr.to_owned() }
    }

    /// Asks to become a node.
    pub(crate) async fn join(&mut self, request: JoinRequest) -> Result<JoinReply, PeerError> {
        self.json(Call::Join, request).await
    }

    /// Asks for a new certificate.
    pub async fn renew(&mut self, request: RenewRequest) -> Result<RenewReply, PeerError> {
        self.json(Call::Renew, request).await
    }

    /// Asks to be let into the consensus group.
    pub async fn join_managers(&mut self, request: ManagerJoin) -> Result<ManagerJoined, PeerError> {
        self.json(Call::JoinManagers, request).await
    }

    /// Forwards a write to the leader.
    pub async fn propose(&mut self, batch: Batch) -> Result<ProposeReply, PeerError> {
        self.json(Call::Propose, batch).await
    }

    /// Sends a message of the consensus library and waits for the answer.
    pub async fn raft(&mut self, message: Bytes) -> Result<Bytes, PeerError> {
        self.once(Call::Raft, message, Raw).await
    }

    /// Opens a session. The first message must be a hello. ([`crate::run_session`] does this and all the rest.)
    pub async fn session(
        &mut self,
        outbound: impl Stream<Item = NodeMessage> + Send + 'static,
    ) -> Result<Inbound<ManagerMessage>, PeerError> {
        self.both_ways(Call::Session, outbound, Json::<NodeMessage, ManagerMessage>::default()).await
    }

    /// Answers a manager's request for a stream. ([`crate::run_session`] does this for its handler.)
    pub async fn stream(
        &mut self,
        id: String,
        outbound: impl Stream<Item = Frame> + Send + 'static,
    ) -> Result<Inbound<Frame>, PeerError> {
        let opening = Frame::Control(Control::Open { id });
        self.both_ways(Call::Stream, stream::iter([opening]).chain(outbound), Frames).await
    }

    /// Asks the manager that holds a node's session for a stream from it.
    pub async fn relay(
        &mut self,
        request: RelayRequest,
        outbound: impl Stream<Item = Frame> + Send + 'static,
    ) -> Result<Inbound<Frame>, PeerError> {
        let opening = Frame::Control(Control::Relay(request));
        self.both_ways(Call::Relay, stream::iter([opening]).chain(outbound), Frames).await
    }

    async fn json<E, D>(&mut self, call: Call, message: E) -> Result<D, PeerError>
    where
        E: Serialize + Send + Sync + 'static,
        D: DeserializeOwned + Send + Sync + 'static,
    {
        self.once(call, message, Json::<E, D>::default()).await
    }

    async fn once<C>(&mut self, call: Call, message: C::Encode, codec: C) -> Result<C::Decode, PeerError>
    where
        C: Codec,
        C::Encode: Send + Sync + 'static,
        C::Decode: Send + Sync + 'static,
    {
        let Self { grpc, addr } = self;
        within(addr, DEADLINE, async {
            ready(grpc).await?;
            Ok(grpc.unary(Request::new(message), path(call), codec).await?.into_inner())
        })
        .await
    }

    async fn both_ways<C>(
        &mut self,
        call: Call,
        outbound: impl Stream<Item = C::Encode> + Send + 'static,
        codec: C,
    ) -> Result<Inbound<C::Decode>, PeerError>
    where
        C: Codec,
        C::Encode: Send + Sync + 'static,
        C::Decode: Send + Sync + 'static,
    {
        let Self { grpc, addr } = self;
        let deadline = if call == Call::Session { SESSION_DEADLINE } else { DEADLINE };
        let inbound = within(addr, deadline, async {
            ready(grpc).await?;
            Ok(grpc.streaming(Request::new(outbound), path(call), codec).await?.into_inner())
        })
        .await?;
        Ok(inbound.boxed())
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))
}

fn path(call: Call) -> PathAndQuery {
    PathAndQuery::from_static(call.path())
}

async fn within<T>(
    addr: &str,
    deadline: Duration,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, PeerError> {
    match tokio::time::timeout(deadline, work).await {
        Ok(outcome) => outcome.map_err(|status| error_of(addr, status)),
        Err(_) => Err(PeerError::TimedOut { addr: addr.to_owned() }),
    }
}

/// A status that came from the other side has no source; one that was made here of a broken connection has.
pub(crate) fn error_of(addr: &str, status: Status) -> PeerError {
    let Some(mut source) = status.source() else { return PeerError::Refused(status) };
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    PeerError::Unreachable { addr: addr.to_owned(), source: io::Error::other(source.to_string()) }
}
