//! Accepts connections on the managers' port: TCP, then TLS, then who it is.

use crate::access::Caller;
use crate::{Credentials, PeerIdentity};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, StreamExt};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use tracing::debug;

/// A client that does not finish the handshake in this time is dropped.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Handshakes at a time; more clients wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// After a failed accept (no more file descriptors), to let some be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection whose other end is known.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

type Handshake = BoxFuture<'static, Option<Connection>>;

struct Accepting {
    listener: TcpListener,
    credentials: Credentials,
    closed: CancellationToken,
    handshakes: FuturesUnordered<Handshake>,
}

/// Every connection that gets through its handshake, in whatever order. Cancelling `closed` ends them all.
pub(crate) fn connections(
    listener: TcpListener,
    credentials: Credentials,
    closed: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let accepting = Accepting { listener, credentials, closed, handshakes: FuturesUnordered::new() };
    stream::unfold(accepting, |mut accepting| async move {
        let connection = accepting.next().await;
        Some((Ok(connection), accepting))
    })
}

impl Accepting {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => match accepted {
                    Ok((stream, remote)) => self.start(stream, remote),
                    Err(error) => {
                        debug!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(done) = self.handshakes.next() => {
                    if let Some(connection) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn start(&self, stream: TcpStream, remote: SocketAddr) {
        // Answers are small and waited for; without this they wait for one another. It only fails on dead sockets.
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.credentials.material().server));
        let closed = Box::pin(self.closed.clone().cancelled_owned());
        self.handshakes.push(Box::pin(async move {
            match tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Connection::new(stream, remote, closed),
                Ok(Err(error)) => {
                    debug!(%remote, %error, "a handshake failed");
                    None
                }
                Err(_) => {
                    debug!(%remote, "a handshake took too long");
                    None
                }
            }
        }));
    }
}

impl Connection {
    fn new(
        stream: TlsStream<TcpStream>,
        remote: SocketAddr,
        closed: Pin<Box<WaitForCancellationFutureOwned>>,
    ) -> Option<Self> {
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = match leaf.map(|der| PeerIdentity::of_certificate(der)) {
            None => None,
            Some(Ok(identity)) => Some(Arc::new(identity)),
            Some(Err(error)) => {
                debug!(%remote, %error, "a certificate signed by our root makes no sense");
                return None;
            }
        };
        Some(Self { stream, caller: Caller { remote, identity }, closed })
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
