//! What the node's loop has done since the daemon started, counted for the metrics.

use shoal_model::{Deviation, DeviationKind};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts since the daemon started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Differences found, and repaired unless a later pass finds them again, by kind.
    pub(crate) found: BTreeMap<DeviationKind, u64>,
    /// Those among them that a foreign hand made.
    pub(crate) foreign: BTreeMap<DeviationKind, u64>,
    /// Tasks by the state that they were last seen in.
    pub(crate) tasks: BTreeMap<String, u64>,
    /// Passes.
    pub(crate) passes: u64,
    /// Passes that could not compare.
    pub(crate) failed_passes: u64,
    /// Time spent in passes.
    pub(crate) pass_time: Duration,
    /// The digest of the assignment that the kernel holds; empty while it differs.
    pub(crate) digest: String,
}

/// Counts that the node's loop writes and the metrics read.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<Counts>);

impl Tallies {
    /// Changes the counts.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The counts now.
    pub(crate) fn now(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds one for each deviation's kind.
pub(crate) fn add<'a>(
    to: &mut BTreeMap<DeviationKind, u64>,
    deviations: impl IntoIterator<Item = &'a Deviation>,
) {
    for deviation in deviations {
        *to.entry(deviation.kind).or_default() += 1;
    }
}
