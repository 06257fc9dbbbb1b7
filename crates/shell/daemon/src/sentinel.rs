//! The leader's ear: notices within a second that a node has fallen silent. Apart from the leader's loop, which waits for
//! its writes.

use crate::entropy;
use crate::manager::Manager;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Silence is looked for at least this often, so that a pause of this process's own is told from the silence of others.
const PERIOD: Duration = Duration::from_millis(100);

/// Looks for silent nodes while this manager leads, until shutdown.
pub(crate) async fn run(manager: Arc<Manager>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut leads = manager.leads.subscribe();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = leads.wait_for(|leads| *leads) => if changed.is_err() { break },
        }
        let next = manager.look_for_silence().map(|next| next.since(entropy::now()));
        let pause = next.unwrap_or(PERIOD).min(PERIOD);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
    shutdown.cancelled().await;
    Ok(())
}
