//! Forgets flows that are over, or whose server is gone.

use super::abi::{FLOW_RESET, IDLE_DATAGRAM, PROTOCOL_TCP, PROTOCOL_UDP, longest_idle};
use super::map::Maps;
use crate::Error;
use std::collections::HashSet;
use std::io;

/// Nanoseconds on the clock of the programs (`CLOCK_MONOTONIC`).
pub(crate) fn now() -> Result<u64, Error> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0 {
        return Err(Error::system("reading the clock", io::Error::last_os_error()));
    }
    Ok(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// Deletes what nothing will come of. The programs see for themselves that a flow's server is gone; this only keeps the
/// tables small and the counters true.
pub(crate) fn forget(maps: &Maps) -> Result<(), Error> {
    let now = now()?;
    let servers: HashSet<u32> = maps.servers.dump()?.into_iter().map(|(number, _)| number).collect();
    for (key, flow) in maps.entry_flows.dump()? {
        let longest = if servers.contains(&flow.server) {
            longest_idle(key.protocol, flow.state)
        } else if key.protocol == PROTOCOL_TCP {
            // Its client is still to be told.
            longest_idle(PROTOCOL_TCP, FLOW_RESET)
        } else {
            0
        };
        if now.saturating_sub(flow.seen) > longest {
            maps.entry_flows.remove(&key)?;
        }
    }
    for (key, choice) in maps.datagram_choices.dump()? {
        if !servers.contains(&choice.server) || now.saturating_sub(choice.seen) > IDLE_DATAGRAM {
            maps.datagram_choices.remove(&key)?;
        }
    }
    for server in maps.mesh_traffic.keys()?.into_iter().filter(|server| !servers.contains(server)) {
        maps.mesh_traffic.remove(server)?;
    }
    at_tasks(maps, now)
}

fn at_tasks(maps: &Maps, now: u64) -> Result<(), Error> {
    let tasks: HashSet<_> =
        maps.mesh_tasks.dump()?.into_iter().flat_map(|(_, task)| [task.address, task.address6]).collect();
    let mut living = HashSet::new();
    for (key, flow) in maps.task_flows.dump()? {
        let idle = now.saturating_sub(flow.seen);
        let longest = longest_idle(key.protocol, flow.state);
        // Where only the way back was noted there is nothing to lose but room.
        let longest = if flow.published == 0 { longest.min(longest_idle(PROTOCOL_UDP, 0)) } else { longest };
        if !tasks.contains(&key.task) || idle > longest {
            maps.task_flows.remove(&key)?;
        } else {
            living.insert(key);
        }
    }
    for (key, clash) in maps.clashes.dump()? {
        let mut flow = key.flow;
        flow.client_port = clash.client_port;
        if !living.contains(&flow) {
            maps.clashes.remove(&key)?;
        }
    }
    Ok(())
}
