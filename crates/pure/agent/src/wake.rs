//! When to look again although nothing happened.
use shoal_model::{Assignment, Observed, Timestamp};

/// The next time at which [`crate::plan`] or [`crate::reports`] may answer otherwise than now by the clock alone: a
/// task's start time, the end of a pause after a failure, the end of a grace period.
pub fn next_wake(_assignment: &Assignment, _observed: &Observed, _now: Timestamp) -> Option<Timestamp> {
    None
}
