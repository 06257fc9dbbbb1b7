//! Counts the live inbound connections of tasks that drain.

use shoal_model::Observed;
use shoal_model::assignment::ContainerState;

/// Counts anew for every task that drains and whose container was not told to stop yet.
pub(crate) fn count(observed: &mut Observed) {
    for (task, draining) in &mut observed.draining {
        let Some(container) = observed.containers.get(task) else { continue };
        if let (ContainerState::Running { pid, .. }, None) = (&container.state, container.stopping_since) {
            draining.connections = live(*pid);
        }
    }
}

/// The live inbound connections in the network namespace of a process; none once it has ended.
fn live(pid: u32) -> u32 {
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    shoal_agent::live_inbound(&table("tcp"), &table("tcp6"))
}
