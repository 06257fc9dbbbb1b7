//! The only place where the daemon spawns: every long-running part has a name, and the death of one ends the daemon in
//! order instead of leaving it half alive.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs named parts until one fails or shutdown is asked for.
#[derive(Clone)]
pub(crate) struct Supervisor {
    /// Tells these parts to end.
    shutdown: CancellationToken,
    /// Cancelled when a part fails: ends the whole daemon.
    failed: CancellationToken,
    parts: Arc<Mutex<JoinSet<()>>>,
}

impl Supervisor {
    /// A supervisor with nothing to do yet.
    pub(crate) fn new() -> Self {
        let shutdown = CancellationToken::new();
        Self { failed: shutdown.clone(), shutdown, parts: Arc::default() }
    }

    /// A group of parts that can be ended alone, such as all that belongs to a swarm. It ends with the daemon, and the
    /// failure of one of its parts still ends the daemon.
    pub(crate) fn group(&self) -> Self {
        Self { shutdown: self.shutdown.child_token(), failed: self.failed.clone(), parts: Arc::default() }
    }

    /// The token that tells every part to end. Children of it can be cancelled alone.
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Runs a part that is meant to last until shutdown; its error, or its end before that, ends the daemon.
    pub(crate) fn run<F>(&self, name: &'static str, part: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        self.spawn(async move {
            match part.await {
                Ok(()) if shutdown.is_cancelled() => tracing::debug!(part = name, "ended"),
                Ok(()) => {
                    tracing::error!(part = name, "ended unasked");
                    failed.cancel();
                }
                Err(error) => {
                    tracing::error!(part = name, error = format!("{error:#}"), "failed");
                    failed.cancel();
                }
            }
        });
    }

    /// Runs something that ends by itself, such as one step for one task.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        // Finished pieces are dropped here, so that the set does not grow for ever.
        while parts.try_join_next().is_some() {}
        parts.spawn(work);
    }

    /// Waits for shutdown, then gives the parts `grace` to end before they are dropped.
    pub(crate) async fn wait(&self, grace: Duration) {
        self.shutdown.cancelled().await;
        let mut parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        let all_ended = async { while parts.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            tracing::warn!(?grace, "some parts did not end in time and are dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_dies_ends_all_the_others() {
        let supervisor = Supervisor::new();
        let token = supervisor.shutdown().clone();
        supervisor.run("lasting", async move {
            token.cancelled().await;
            Ok(())
        });
        supervisor.run("failing", async { anyhow::bail!("no") });
        tokio::time::timeout(Duration::from_secs(5), supervisor.wait(Duration::from_secs(1))).await.unwrap();
        assert!(supervisor.shutdown().is_cancelled());
    }
}
