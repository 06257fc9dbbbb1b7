//! The managers' port: takes calls, checks who may make them, and asks the [`ManagerService`].

use crate::acceptor::connections;
use crate::access::{Call, Caller};
use crate::clock::now;
use crate::codec::{Frames, Json, Raw};
use crate::{
    Control, Credentials, Frame, MESSAGE_LIMIT_BYTES, ManagerMessage, ManagerService, NodeMessage, Outbound,
    PROTOCOL, PeerError, PeerIdentity,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::{Codec, Streaming};
use tonic::codegen::http;
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A silent client is tried after this long, and dropped if for as long again nothing comes.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The first message of a session or stream must come within this time.
const FIRST_MESSAGE_DEADLINE: Duration = Duration::from_secs(10);
/// Whoever asks to join is not known yet, and must not fill our memory.
const JOIN_LIMIT_BYTES: usize = 64 * 1024;
/// Calls that run get this long when the port is closed.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);

/// Serves the managers' port until `shutdown`. Then sessions and streams end in order, other calls are answered within
/// a few seconds, and whatever is left is cut.
pub async fn serve(
    listener: TcpListener,
    credentials: Credentials,
    service: Arc<dyn ManagerService>,
    shutdown: CancellationToken,
) -> Result<(), PeerError> {
    let cut = CancellationToken::new();
    let _cut_at_the_end = cut.clone().drop_guard();
    let dispatch = Dispatch { service, credentials: credentials.clone(), shutdown: shutdown.clone() };
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .http2_adaptive_window(Some(true))
        .serve_with_incoming_shutdown(
            dispatch,
            connections(listener, credentials, cut),
            shutdown.clone().cancelled_owned(),
        );
    tokio::select! {
        outcome = serving => outcome.map_err(PeerError::Serve),
        () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN_DEADLINE).await } => Ok(()),
    }
}

#[derive(Clone)]
struct Dispatch {
    service: Arc<dyn ManagerService>,
    credentials: Credentials,
    shutdown: CancellationToken,
}

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;

impl tower::Service<HttpRequest> for Dispatch {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let dispatch = self.clone();
        Box::pin(async move { Ok(dispatch.answer(request).await.unwrap_or_else(Status::into_http)) })
    }
}

impl Dispatch {
    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, Status> {
        let path = request.uri().path();
        let call = Call::at(path).ok_or_else(|| Status::unimplemented(format!("there is no call {path}")))?;
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::internal("the connection has no caller"))?;
        let cluster = self.credentials.identity().peer().cluster.clone();
        let peer = call.admit(&caller, &cluster, now())?;
        match (call, peer) {
            (Call::Join, _) => Ok(self.join(caller.remote, request).await),
            (_, Some(peer)) => Ok(self.call_of_peer(call, peer, caller.remote, request).await),
            (_, None) => Err(Status::unauthenticated("this call needs the certificate of a node")),
        }
    }

    async fn join(self, remote: SocketAddr, request: HttpRequest) -> HttpResponse {
        let service = self.service;
        unary(request, JOIN_LIMIT_BYTES, move |join: crate::JoinRequest| {
            let service = Arc::clone(&service);
            async move {
                check_protocol(join.protocol)?;
                service.join(join, remote).await
            }
        })
        .await
    }

    async fn call_of_peer(
        self,
        call: Call,
        peer: Arc<PeerIdentity>,
        remote: SocketAddr,
        request: HttpRequest,
    ) -> HttpResponse {
        let service = Arc::clone(&self.service);
        match call {
            Call::Join => self.join(remote, request).await,
            Call::Renew => {
                unary(request, MESSAGE_LIMIT_BYTES, move |message| {
                    let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
                    async move { service.renew(peer, message).await }
                })
                .await
            }
            Call::JoinManagers => {
                unary(request, MESSAGE_LIMIT_BYTES, move |message| {
                    let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
                    async move { service.join_managers(peer, message).await }
                })
                .await
            }
            Call::Propose => {
                unary(request, MESSAGE_LIMIT_BYTES, move |message| {
                    let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
                    async move { service.propose(peer, message).await }
                })
                .await
            }
            Call::Raft => {
                let call = tower::service_fn(move |message: Request<_>| {
                    let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
                    async move { service.raft(peer, message.into_inner()).await.map(Response::new) }
                });
                grpc(Raw).unary(call, request).await
            }
            Call::Session => self.session(peer, remote, request).await,
            Call::Stream | Call::Relay => self.frames(call, peer, request).await,
        }
    }

    async fn session(
        self,
        peer: Arc<PeerIdentity>,
        remote: SocketAddr,
        request: HttpRequest,
    ) -> HttpResponse {
        let call = tower::service_fn(move |messages: Request<Streaming<NodeMessage>>| {
            let (this, peer) = (self.clone(), Arc::clone(&peer));
            async move {
                let mut inbound = messages.into_inner();
                let NodeMessage::Hello(hello) = first(&mut inbound).await? else {
                    return Err(Status::invalid_argument("a session must begin with a hello"));
                };
                check_protocol(hello.protocol)?;
                let outbound = this.service.session(peer, remote, *hello, inbound.boxed()).await?;
                Ok(Response::new(this.until_shutdown(outbound)))
            }
        });
        grpc(Json::<ManagerMessage, NodeMessage>::default()).streaming(call, request).await
    }

    async fn frames(self, call: Call, peer: Arc<PeerIdentity>, request: HttpRequest) -> HttpResponse {
        let answer = tower::service_fn(move |frames: Request<Streaming<Frame>>| {
            let (this, peer) = (self.clone(), Arc::clone(&peer));
            async move {
                let mut inbound = frames.into_inner();
                let outbound = match (call, first(&mut inbound).await?) {
                    (Call::Stream, Frame::Control(Control::Open { id })) => {
                        this.service.stream(peer, id, inbound.boxed()).await?
                    }
                    (Call::Relay, Frame::Control(Control::Relay(request))) => {
                        this.service.relay(peer, request, inbound.boxed()).await?
                    }
                    _ => return Err(Status::invalid_argument("a stream must begin by saying what it is")),
                };
                Ok(Response::new(this.until_shutdown(outbound)))
            }
        });
        grpc(Frames).streaming(answer, request).await
    }

    fn until_shutdown<T: Send + 'static>(&self, outbound: Outbound<T>) -> Outbound<T> {
        outbound.take_until(self.shutdown.clone().cancelled_owned()).boxed()
    }
}

fn grpc<C: Codec>(codec: C) -> Grpc<C> {
    Grpc::new(codec).max_decoding_message_size(MESSAGE_LIMIT_BYTES)
}

async fn unary<D, E, F, Fut>(request: HttpRequest, limit: usize, mut answer: F) -> HttpResponse
where
    D: DeserializeOwned + Send + 'static,
    E: Serialize + Send + 'static,
    F: FnMut(D) -> Fut + Send,
    Fut: Future<Output = Result<E, Status>> + Send,
{
    let call = tower::service_fn(move |message: Request<D>| {
        let answer = answer(message.into_inner());
        async move { answer.await.map(Response::new) }
    });
    Grpc::new(Json::<E, D>::default()).max_decoding_message_size(limit).unary(call, request).await
}

async fn first<T>(inbound: &mut Streaming<T>) -> Result<T, Status> {
    match tokio::time::timeout(FIRST_MESSAGE_DEADLINE, inbound.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(Status::invalid_argument("nothing was said")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("nothing was said in time")),
    }
}

fn check_protocol(theirs: u32) -> Result<(), Status> {
    if theirs == PROTOCOL {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "this manager speaks protocol {PROTOCOL}, the node speaks {theirs}: both must run the same version"
    )))
}
