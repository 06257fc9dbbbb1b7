//! What the API is told and can have done: the daemon's side of [`shoal_api::Backend`], one file a resource.

pub(crate) mod containers;
pub(crate) mod images;
mod metrics;
mod networks;
mod swarm;
mod system;

use crate::engine::Engine;
use crate::exec::ExecSessions;
use crate::membership::Swarm;
use shoal_wire::ApiError;
use std::future::Future;
use std::sync::Arc;

/// The daemon as the API sees it.
pub(crate) struct Backend {
    pub(crate) engine: Arc<Engine>,
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) execs: Arc<ExecSessions>,
}

impl Backend {
    /// Carries an action through although the client may go away meanwhile: half of it would be worse than all or
    /// nothing.
    pub(crate) async fn carry_through<T: Send + 'static>(
        &self,
        action: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.engine.supervisor.spawn(async move {
            // Whoever asked may have gone.
            drop(done.send(action.await));
        });
        result.await.map_err(|_| ApiError::unavailable("the daemon is shutting down"))?
    }
}

/// Any failure that is not the client's doing.
pub(crate) fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}

/// Runs blocking work for the API.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(internal)?
}
