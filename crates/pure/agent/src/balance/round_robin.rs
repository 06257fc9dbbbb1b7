//! One after the other, whatever their weights.

use super::Candidate;

/// Each server once, in order: strict round robin, as LVS does it.
pub(super) fn ring(candidates: &[Candidate<'_>]) -> Vec<u16> {
    candidates.iter().map(|candidate| candidate.index).collect()
}
