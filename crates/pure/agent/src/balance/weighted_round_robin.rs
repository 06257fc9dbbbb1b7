//! One after the other, each as often as its weight asks for.

use super::Candidate;
use shoal_model::lvs::RING_SLOTS_MAX;

/// With equal weights each server once, in order. With others, a server of weight 5 beside one of weight 1 is not chosen
/// five times in a row and then the other once, but evenly spread.
pub(super) fn ring(candidates: &[Candidate<'_>]) -> Vec<u16> {
    let turns = turns(candidates);
    spread(candidates.iter().map(|candidate| candidate.index).zip(turns))
}

/// How many slots each server gets: its weight in lowest terms, or in proportion (but at least one) where those are more
/// than a ring has.
pub(super) fn turns(candidates: &[Candidate<'_>]) -> Vec<u64> {
    let weights = candidates.iter().map(|candidate| u64::from(candidate.weight));
    let divisor = weights.clone().fold(0, greatest_common_divisor).max(1);
    let exact: Vec<u64> = weights.map(|weight| weight / divisor).collect();
    let sum: u64 = exact.iter().sum();
    let most = RING_SLOTS_MAX as u64;
    if sum <= most {
        return exact;
    }
    let spare = most.saturating_sub(exact.len() as u64);
    exact.into_iter().map(|weight| 1 + (weight - 1) * spare / sum).collect()
}

/// Spreads every server's turns evenly over the ring: each slot goes to the one that has waited longest for its share
/// (the smooth weighted round robin of nginx).
pub(super) fn spread(turns: impl Iterator<Item = (u16, u64)>) -> Vec<u16> {
    let turns: Vec<(u16, i64)> =
        turns.filter_map(|(index, turns)| Some((index, i64::try_from(turns).ok()?))).collect();
    let slots: i64 = turns.iter().map(|(_, turns)| turns).sum();
    let mut credit = vec![0_i64; turns.len()];
    let mut ring = Vec::new();
    for _ in 0..slots {
        let mut best = 0;
        for (n, (_, turns)) in turns.iter().enumerate() {
            credit[n] += turns;
            if credit[n] > credit[best] {
                best = n;
            }
        }
        credit[best] -= slots;
        ring.push(turns[best].0);
    }
    ring
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
