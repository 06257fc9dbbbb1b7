//! Forgets flows that are over, or whose server is gone.

use super::abi::{EntryFlow, EntryKey, FLOW_RESET, PROTOCOL_TCP, Plain, TaskFlow, TaskKey};
use super::idle::IdleLimits;
use super::map::{Map, Maps};
use crate::Error;
use std::collections::HashSet;
use std::io;
use std::time::Instant;

/// Nanoseconds on the clock of the programs (`CLOCK_MONOTONIC`).
pub(crate) fn now() -> Result<u64, Error> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0 {
        return Err(Error::system("reading the clock", io::Error::last_os_error()));
    }
    Ok(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// All flows where they enter, confirmed or not.
pub(crate) fn entering(maps: &Maps) -> Result<Vec<(EntryKey, EntryFlow)>, Error> {
    let mut flows = maps.entry_flows.dump()?;
    flows.extend(maps.entry_openings.dump()?);
    Ok(flows)
}

/// Forgetting reads every flow, so it takes at most about a tenth of the time, however often the node looks.
const REST: u32 = 10;

/// When flows may be read through again.
#[derive(Debug, Default)]
pub(crate) struct Forgetting {
    not_before: Option<Instant>,
}

impl Forgetting {
    /// Forgets, unless it has only just done so.
    pub(crate) fn when_due(&mut self, maps: &Maps, idle: &IdleLimits) -> Result<(), Error> {
        let begun = Instant::now();
        if self.not_before.is_some_and(|at| begun < at) {
            return Ok(());
        }
        forget(maps, idle)?;
        self.not_before = Some(Instant::now() + begun.elapsed() * REST);
        Ok(())
    }
}

/// Deletes what nothing will come of. The programs see for themselves that a flow's server is gone; this only keeps the
/// tables small and the counters true.
pub(crate) fn forget(maps: &Maps, idle: &IdleLimits) -> Result<(), Error> {
    let now = now()?;
    let servers: HashSet<u32> = maps.servers.dump()?.into_iter().map(|(number, _)| number).collect();
    for map in [&maps.entry_flows, &maps.entry_openings] {
        for (key, flow) in map.dump()? {
            let longest = if servers.contains(&flow.server) {
                idle.longest(key.protocol, flow.state)
            } else if key.protocol == PROTOCOL_TCP {
                // Its client is still to be told.
                idle.longest(PROTOCOL_TCP, FLOW_RESET)
            } else {
                0
            };
            if now.saturating_sub(flow.seen) > longest {
                remove_if_still(map, &key, &flow)?;
            }
        }
    }
    for (key, choice) in maps.datagram_choices.dump()? {
        if !servers.contains(&choice.server) || now.saturating_sub(choice.seen) > idle.datagram() {
            remove_if_still(&maps.datagram_choices, &key, &choice)?;
        }
    }
    for server in maps.mesh_traffic.keys()?.into_iter().filter(|server| !servers.contains(server)) {
        maps.mesh_traffic.remove(server)?;
    }
    // A clash is written before its flow, and flows move from the openings to the others: read in this order, whatever
    // the traffic does meanwhile, no clash is taken for one without a flow.
    let clashes = maps.clashes.dump()?;
    let mut living = HashSet::new();
    for map in [&maps.task_openings, &maps.task_flows] {
        at_tasks(maps, map, idle, &mut living)?;
    }
    for (key, clash) in clashes {
        let mut flow = key.flow;
        flow.client_port = clash.client_port;
        if !living.contains(&flow) {
            remove_if_still(&maps.clashes, &key, &clash)?;
        }
    }
    Ok(())
}

/// Removes what traffic has not changed since it was read: a flow that was over may have begun anew.
fn remove_if_still<K: Plain, V: Plain + PartialEq>(map: &Map<K, V>, key: &K, value: &V) -> Result<(), Error> {
    if map.get(key)?.as_ref() == Some(value) {
        map.remove(key)?;
    }
    Ok(())
}

fn at_tasks(
    maps: &Maps,
    flows: &Map<TaskKey, TaskFlow>,
    idle: &IdleLimits,
    living: &mut HashSet<TaskKey>,
) -> Result<(), Error> {
    let now = now()?;
    let tasks: HashSet<_> =
        maps.mesh_tasks.dump()?.into_iter().flat_map(|(_, task)| [task.address, task.address6]).collect();
    for (key, flow) in flows.dump()? {
        let longest = idle.longest(key.protocol, flow.state);
        // Where only the way back was noted there is nothing to lose but room.
        let only_way_back = flow.published == 0 && flow.client_port == key.client_port;
        let longest = if only_way_back { longest.min(idle.datagram()) } else { longest };
        if !tasks.contains(&key.task) || now.saturating_sub(flow.seen) > longest {
            remove_if_still(flows, &key, &flow)?;
        } else {
            living.insert(key);
        }
    }
    Ok(())
}
