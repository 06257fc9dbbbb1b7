//! Observed and desired states of a task only move forward.

use super::Broken;
use shoal_store::State;

pub(super) fn check(before: &State, after: &State) -> Result<(), Broken> {
    for (id, old) in before.tasks() {
        let Some(new) = after.tasks().get(id) else { continue };
        let moved_back = new.status.state < old.status.state || new.desired < old.desired;
        if moved_back {
            let show = |state: shoal_model::TaskState, desired: shoal_model::TaskState| {
                format!("{} (desired {})", state.as_str(), desired.as_str())
            };
            let (from, to) = (show(old.status.state, old.desired), show(new.status.state, new.desired));
            let how = format!("task {} went from {from} to {to}", old.name());
            return Err(Broken { invariant: "forward", how });
        }
    }
    Ok(())
}
