//! Schedulers of the virtual server as rings: the kernel picks `ring[next % len]` or `ring[hash % len]`, so a new
//! scheduler is a new file here and nothing in the kernel.

use shoal_model::lvs::{RealServer, Scheduler};

mod round_robin;
mod source_hash;

/// The ring of a virtual service: indexes into `servers`, each as often as its weight asks for. A server of weight 0
/// is not in it; the ring is empty when there is no other.
pub fn ring(scheduler: Scheduler, servers: &[RealServer]) -> Vec<u16> {
    match scheduler {
        Scheduler::RoundRobin => round_robin::ring(servers),
        Scheduler::SourceHash => source_hash::ring(servers),
    }
}
