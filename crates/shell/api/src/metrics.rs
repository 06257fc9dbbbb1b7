//! `/metrics` for Prometheus, on a TCP address of its own, unencrypted, as dockerd's `--metrics-addr`.

use crate::reply::{Body, full};
use async_trait::async_trait;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use shoal_wire::ApiError;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; a scraper needs one. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16;
/// Pause after a failed accept (no more file descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Knows the values of all metrics.
#[async_trait]
pub trait Metrics: Send + Sync + 'static {
    /// All of them as Prometheus' text.
    async fn metrics(&self) -> Result<String, ApiError>;
}

/// Serves metrics until `shutdown`.
pub async fn serve_metrics(listener: TcpListener, metrics: Arc<dyn Metrics>, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, metrics.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, metrics: Arc<dyn Metrics>) {
    let service = service_fn(|request| {
        let metrics = metrics.clone();
        async move { Ok::<_, Infallible>(answer(metrics.as_ref(), &request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a connection to the metrics broke");
    }
}

async fn answer(metrics: &dyn Metrics, request: &Request<Incoming>) -> Response<Body> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "metrics can only be read\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match metrics.metrics().await {
        Ok(text) => {
            let mut told = plain(StatusCode::OK, text);
            let kind = HeaderValue::from_static(shoal_wire::metrics::CONTENT_TYPE);
            told.headers_mut().insert(CONTENT_TYPE, kind);
            told
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", error.message)),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
