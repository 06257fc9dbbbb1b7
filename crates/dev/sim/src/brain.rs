//! The code under test, behind one trait: what the simulation calls instead of calling the production crates itself, so
//! that a mutant can stand in for a part of it.

use rand::RngCore;
use shoal_control::{Liveness, Plan};
use shoal_model::{Assignment, NodeId, Timestamp};
use shoal_store::{Entry, Rejected, State};

/// What a manager thinks with.
pub trait Brain {
    /// One pass of the control loop.
    fn tick(&self, state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
        shoal_control::tick(state, liveness, now, rng)
    }

    /// From one log entry to the next, on manager number `manager`.
    fn apply(
        &self,
        manager: usize,
        state: &mut State,
        index: u64,
        entry: &Entry,
    ) -> Vec<Result<(), Rejected>> {
        let _ = manager;
        shoal_store::apply(state, index, entry)
    }

    /// What one node should hold.
    fn assign(&self, state: &State, liveness: &Liveness, node: &NodeId) -> Assignment {
        shoal_control::assign(state, liveness, node)
    }

    /// Finds the tasks that no node gives new connections any more; true if there are new ones.
    fn withdraw(&self, liveness: &mut Liveness, state: &State, now: Timestamp) -> bool {
        liveness.withdraw(state, now)
    }

    /// How many committed entries a new leader starts from, of `committed`.
    fn recover(&self, committed: usize) -> usize {
        committed
    }
}

/// The production code as it is.
pub struct Production;

impl Brain for Production {}
