//! Listening, and serving each connection.

use crate::Backend;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

/// Why the server ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listening socket failed.
    #[error("cannot accept connections: {0}")]
    Accept(#[source] std::io::Error),
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
