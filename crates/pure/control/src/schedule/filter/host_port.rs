//! A port of the host can be held by one task at a time.

use crate::schedule::node_set::NodeLoad;
use crate::schedule::reasons::Reason;
use shoal_model::Task;

pub(super) fn check(task: &Task, load: &NodeLoad) -> Result<(), Reason> {
    let mut wanted = task.host_ports.iter().map(|port| (port.transport(), port.published_port));
    if wanted.any(|port| load.host_ports.contains(&port)) { Err(Reason::HostPort) } else { Ok(()) }
}
