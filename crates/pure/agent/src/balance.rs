//! Schedulers of the virtual server as rings: the kernel picks `ring[next % len]` or `ring[hash % len]`, so a new
//! scheduler is a new file here and nothing in the kernel. `docs/how-to/add-a-scheduler.md` adds one step by step.

mod hash;
mod least_connection;
mod maglev;
mod power_of_two_choices;
mod round_robin;
mod source_hash;
#[cfg(test)]
mod suite;
mod weighted_round_robin;

use shoal_model::TaskId;
use shoal_model::lvs::{RING_SLOTS_MAX, RealServer, Scheduler};
use std::collections::BTreeMap;

/// A real server that gets new connections, as schedulers see it.
struct Candidate<'a> {
    /// Where it stands among the real servers; what the ring holds.
    index: u16,
    /// The task: what a hash must be of, since the place of a server depends on who else is there.
    task: &'a TaskId,
    /// Its share of new connections, at least 1.
    weight: u32,
    /// The connections that the whole cluster gives it now, as far as it is known.
    connections: u64,
}

/// The ring of a virtual service: indexes into `servers`. A server of weight 0 is not in it; the ring is empty when there
/// is no other. At most [`RING_SLOTS_MAX`] slots, and so at most that many servers. `connections` says how many each task
/// has in the whole cluster; one that it does not name has none.
pub fn ring(scheduler: Scheduler, servers: &[RealServer], connections: &BTreeMap<TaskId, u64>) -> Vec<u16> {
    let candidates = candidates(servers, connections);
    if candidates.is_empty() {
        return Vec::new();
    }
    match scheduler {
        Scheduler::RoundRobin => round_robin::ring(&candidates),
        Scheduler::WeightedRoundRobin => weighted_round_robin::ring(&candidates),
        Scheduler::LeastConnection => least_connection::ring(&candidates),
        Scheduler::SourceHash => source_hash::ring(&candidates),
        Scheduler::Maglev => maglev::ring(&candidates),
        Scheduler::PowerOfTwoChoices => power_of_two_choices::ring(&candidates),
    }
}

fn candidates<'a>(servers: &'a [RealServer], connections: &BTreeMap<TaskId, u64>) -> Vec<Candidate<'a>> {
    let open = servers.iter().enumerate().filter(|(_, server)| server.weight > 0);
    let candidate = |(n, server): (usize, &'a RealServer)| {
        Some(Candidate {
            index: u16::try_from(n).ok()?,
            task: &server.task,
            weight: server.weight,
            connections: connections.get(&server.task).copied().unwrap_or_default(),
        })
    };
    open.filter_map(candidate).take(RING_SLOTS_MAX).collect()
}
