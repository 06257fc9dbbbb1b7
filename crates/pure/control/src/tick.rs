//! One pass of the control loop.

use crate::draft::Draft;
use crate::liveness::Liveness;
use crate::plan::Plan;
use crate::{allocate, liveness, orchestrate, reap, schedule};
use rand::RngCore;
use shoal_model::Timestamp;
use shoal_store::State;

/// What must change for the cluster to become what was asked. Reads the whole state and nothing else; the same pass
/// serves start-up, normal work and a change of leader. Call it whenever the state or the liveness has changed and at
/// [`Plan::next`]; propose the changes as one batch, and wait for its outcome before the next call.
pub fn tick(state: &State, liveness: &Liveness, now: Timestamp, rng: &mut dyn RngCore) -> Plan {
    let mut draft = Draft::new(state, now, rng);
    if state.cluster().is_none() {
        return draft.into_plan();
    }
    liveness::watch(&mut draft, liveness);
    reap::reap(&mut draft);
    orchestrate::orchestrate(&mut draft);
    allocate::allocate(&mut draft);
    schedule::schedule(&mut draft);
    draft.into_plan()
}
