//! The leader's loop: while this manager leads, compare what was asked with what is, and write the difference.

use crate::entropy;
use crate::manager::{Manager, WriteError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The state is looked at anew at least this often, since heartbeats that stop wake nobody.
const PERIOD: Duration = Duration::from_secs(1);
/// Writes that come closer together than this are answered by one pass.
const COALESCE: Duration = Duration::from_millis(5);

/// Runs passes while this manager leads, until shutdown.
pub(crate) async fn run(manager: Arc<Manager>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut applied = manager.log.applied();
    let mut leadership = manager.log.leadership();
    let mut heard = manager.heard.subscribe();
    let mut due = Instant::now();
    let mut led = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = sleep_until(due) => {}
            changed = applied.changed() => if changed.is_err() { break },
            changed = leadership.changed() => if changed.is_err() { break },
            changed = heard.changed() => if changed.is_err() { break },
        }
        drop(timeout(COALESCE, shutdown.cancelled()).await);
        applied.borrow_and_update();
        heard.borrow_and_update();
        let leads = leadership.borrow_and_update().is_leader;
        if leads && !led {
            tracing::info!("this manager leads");
            manager.leads_from_now();
        }
        manager.leads.send_if_modified(|known| std::mem::replace(known, leads) != leads);
        led = leads;
        due = Instant::now() + PERIOD;
        if leads {
            manager.forget_connections_of_lost_nodes();
            due = due.min(Instant::now() + pass(&manager).await);
        }
    }
    // The log was closed, which is how a manager ends.
    shutdown.cancelled().await;
    Ok(())
}

/// One pass; answers how long nothing is due.
async fn pass(manager: &Manager) -> Duration {
    let (state, liveness, now) = (manager.log.state(), manager.liveness(), entropy::now());
    let plan = shoal_control::tick(&state, &liveness, now, &mut rand::rng());
    for reason in &plan.report {
        tracing::debug!(?reason, "plan");
    }
    if plan.changes.is_empty() {
        return plan.next.map_or(PERIOD, |next| next.since(now));
    }
    let count = plan.changes.len();
    match manager.write(plan.changes, now).await {
        Ok(index) => tracing::debug!(index, count, "planned"),
        // Something came in between; the next pass plans from there.
        Err(WriteError::Rejected(rejected)) => tracing::debug!(%rejected, "plan was overtaken"),
        Err(error) => tracing::warn!(?error, "the plan could not be written"),
    }
    Duration::ZERO
}
