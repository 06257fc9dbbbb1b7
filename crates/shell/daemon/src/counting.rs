//! Counts the connections that this node gives to tasks, for services whose scheduler goes by them.

use crate::engine::Engine;
use crate::node_loop::chain;
use shoal_model::assignment::Connections;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two counts.
const PERIOD: Duration = Duration::from_millis(500);

/// Counts until shutdown. As long as no service of the node goes by connections, nothing is read from the kernel.
pub(crate) async fn run(
    engine: Arc<Engine>,
    connections: watch::Sender<Connections>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut view = engine.view.subscribe();
    loop {
        let seen = view.borrow_and_update().clone();
        let wanted = shoal_agent::counts_connections(&seen.assignment);
        let now = if wanted { count(&engine, &seen.assignment).await } else { Some(Connections::new()) };
        if let Some(now) = now {
            connections.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD), if wanted => {}
            // The engine, and the view with it, is there until the end.
            _ = view.changed(), if !wanted => {}
        }
    }
}

/// What the node gives now; nothing when the kernel does not tell.
async fn count(engine: &Arc<Engine>, assignment: &Arc<shoal_model::Assignment>) -> Option<Connections> {
    let (engine, assignment) = (engine.clone(), assignment.clone());
    let counting = tokio::task::spawn_blocking(move || {
        let counters = engine.with_virtual_server(|server| server.counters());
        counters.map(|counters| shoal_agent::connections(&assignment, &counters))
    });
    match counting.await {
        Ok(Ok(connections)) => Some(connections),
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "connections cannot be counted");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "connections cannot be counted");
            None
        }
    }
}
