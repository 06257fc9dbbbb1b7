//! Those with the fewest connections in the whole cluster first.

use super::{Candidate, weighted_round_robin};
use shoal_model::lvs::RING_SLOTS_MAX;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Slots that are worth their cost when the counts are far apart; with more servers than a quarter of that, a ring is as
/// long as rings get.
const SLOTS: usize = 1024;
/// Rounds that everyone takes part in.
const ROUNDS: u128 = 2;

/// Walking the ring once evens out the connections by weight, like water poured into glasses: the slots go one by one to
/// the server that has the fewest connections for its weight, those that it would get here counted in.
///
/// How many slots: as many connections as the others lack to be as full as the fullest, or half of all connections if
/// that is more, and two rounds. So a few connections more on one server do not keep it out while many come and go before
/// the counts are told again. Every server has one slot at least: a count may be old.
pub(super) fn ring(candidates: &[Candidate<'_>]) -> Vec<u16> {
    let mut slots = vec![0_u64; candidates.len()];
    let mut queue: BinaryHeap<_> =
        candidates.iter().zip(0..).map(|(candidate, n)| Reverse((level(candidate, 0), n))).collect();
    for _ in 0..ring_length(candidates) {
        let Some(Reverse((_, n))) = queue.pop() else { break };
        let n: usize = n;
        slots[n] += 1;
        queue.push(Reverse((level(&candidates[n], slots[n]), n)));
    }
    let most = RING_SLOTS_MAX as u64;
    let slots = slots.into_iter().map(|slots| slots.clamp(1, most));
    weighted_round_robin::spread(candidates.iter().map(|candidate| candidate.index).zip(slots))
}

/// How full a server is with one connection more than it has and `given` ones, for its weight.
fn level(candidate: &Candidate<'_>, given: u64) -> u128 {
    per_weight(u128::from(candidate.connections) + u128::from(given) + 1, candidate)
}

/// In units of 2⁻³².
fn per_weight(connections: u128, candidate: &Candidate<'_>) -> u128 {
    (connections << 32) / u128::from(candidate.weight.max(1))
}

fn ring_length(candidates: &[Candidate<'_>]) -> usize {
    let most = if candidates.len() > SLOTS / 4 { RING_SLOTS_MAX } else { SLOTS };
    // Every server's one slot comes on top.
    let most = most.saturating_sub(candidates.len());
    let count = |candidate: &Candidate<'_>| u128::from(candidate.connections);
    let all: u128 = candidates.iter().map(count).sum();
    let round: u128 = weighted_round_robin::turns(candidates).into_iter().map(u128::from).sum();
    let fullest = candidates.iter().map(|c| per_weight(count(c), c)).max().unwrap_or(0);
    let as_full = |c: &Candidate<'_>| (fullest * u128::from(c.weight)) >> 32;
    let lacking: u128 = candidates.iter().map(|c| as_full(c).saturating_sub(count(c))).sum();
    usize::try_from(lacking.max(all / 2).saturating_add(round * ROUNDS)).map_or(most, |slots| slots.min(most))
}

#[cfg(test)]
mod tests {
    use crate::balance::suite::{servers, with_connections};
    use shoal_model::lvs::Scheduler;

    fn slots(weights: &[u32], connections: &[u64]) -> Vec<usize> {
        let servers = servers(weights);
        let ring = crate::balance::ring(
            Scheduler::LeastConnection,
            &servers,
            &with_connections(&servers, connections),
        );
        (0..weights.len()).map(|n| ring.iter().filter(|slot| usize::from(**slot) == n).count()).collect()
    }

    #[test]
    fn what_is_missing_to_the_fullest_comes_first() {
        assert_eq!(slots(&[1, 1], &[10, 0]), [2, 12]);
        assert_eq!(slots(&[1, 1, 1], &[4, 4, 0]), [2, 2, 6]);
        assert_eq!(slots(&[2, 1], &[0, 3]), [10, 2], "six for twice the weight, and two rounds");
        assert_eq!(slots(&[1, 1, 1], &[7, 7, 7]), [6, 5, 5], "half of the 21, and two rounds");
    }

    #[test]
    fn a_small_difference_between_many_is_a_small_difference_of_shares() {
        let shares = slots(&[1, 1], &[510, 490]);
        assert_eq!(shares, [242, 262]);
    }

    #[test]
    fn a_server_far_behind_gets_nearly_everything_but_not_all() {
        assert_eq!(slots(&[1, 1], &[1_000_000, 0]), [1, 1022]);
    }
}
