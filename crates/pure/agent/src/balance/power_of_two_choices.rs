//! The less loaded of two, by the connections of the whole cluster (Mitzenmacher, TPDS 2001). Counts that are a little old
//! do less harm here than with `lc`: no server is ever everyone's first choice.

use super::{Candidate, hash, weighted_round_robin};
use shoal_model::lvs::RING_SLOTS_MAX;

/// Slots at least, so that the draws even out.
const SLOTS: usize = 256;

/// For each slot two servers with chances in proportion to their weights, one whose turn it is and one drawn by lot; the
/// slot goes to the one with fewer connections for its weight, and to the first if they are equal. Without any
/// connections this is weighted round robin. The lots are drawn anew when the counts change.
pub(super) fn ring(candidates: &[Candidate<'_>]) -> Vec<u16> {
    let turns = weighted_round_robin::turns(candidates);
    let round = weighted_round_robin::spread((0..).zip(turns));
    let rounds = SLOTS.div_ceil(round.len().max(1)).min((RING_SLOTS_MAX / round.len().max(1)).max(1));
    let counts = candidates.iter().fold(0, |counts, c| hash::mix(counts, c.connections));
    let chosen = |(slot, first): (u64, usize)| {
        let lot = usize::try_from(hash::mix(counts, slot) % round.len() as u64).unwrap_or(0);
        let (first, second) = (&candidates[first], &candidates[usize::from(round[lot])]);
        if is_less_loaded(second, first) { second.index } else { first.index }
    };
    let firsts = round.iter().map(|n| usize::from(*n)).cycle().take(round.len() * rounds);
    (0..).zip(firsts).map(chosen).collect()
}

/// Compares connections by weight, without dividing.
fn is_less_loaded(a: &Candidate<'_>, b: &Candidate<'_>) -> bool {
    u128::from(a.connections) * u128::from(b.weight) < u128::from(b.connections) * u128::from(a.weight)
}
