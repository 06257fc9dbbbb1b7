//! Listening, and serving each connection.

use crate::Backend;
use crate::dispatch::{Shared, answer};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a client may take to send the head of a request, as dockerd's.
const HEAD_TIMEOUT: Duration = Duration::from_mins(5);

/// How long running answers may take once the server is told to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept (no more file descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Failed accepts in a row after which the socket is given up.
const MAX_ACCEPT_FAILURES: u32 = 100;

/// Why the server ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listening socket failed.
    #[error("cannot accept connections: {0}")]
    Accept(#[source] io::Error),
}

/// Serves the API on a unix socket until `shutdown`; then waits for running answers, at most 5 s.
pub async fn serve(
    listener: UnixListener,
    backend: Arc<dyn Backend>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    run(Listener::Unix(listener), backend, shutdown).await
}

/// Serves the API on TCP, unencrypted, until `shutdown`; then waits for running answers, at most 5 s.
pub async fn serve_tcp(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    run(Listener::Tcp(listener), backend, shutdown).await
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }
}

async fn run(
    listener: Listener,
    backend: Arc<dyn Backend>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let shared = Arc::new(Shared::new(backend, shutdown.clone()));
    let mut connections = JoinSet::new();
    let mut failures = 0;
    let ended = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    failures = 0;
                    connections.spawn(connection(stream, shared.clone()));
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "cannot accept a connection to the API");
                    if failures >= MAX_ACCEPT_FAILURES {
                        break Err(Error::Accept(error));
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    };
    drop(listener);
    shared.hijacked.close();
    let drained = async {
        while connections.join_next().await.is_some() {}
        shared.hijacked.wait().await;
    };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::debug!("connections to the API were cut");
    }
    connections.shutdown().await;
    ended
}

async fn connection(stream: Box<dyn Connection>, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(shared, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shared.shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the API broke");
    }
}
