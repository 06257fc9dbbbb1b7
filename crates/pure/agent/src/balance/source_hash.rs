//! By the client's address: rendezvous hashing (Thaler and Ravishankar, 1998) of every slot. Every node computes the same
//! ring. When a server goes, its clients move and nobody else's; when one comes, nobody moves but to it. The price is that
//! shares are only as even as chance makes them; `maglev` is the other way round.

use super::{Candidate, hash};
use std::cmp::Reverse;

/// Slots of a ring: about a hundred times the usual number of servers.
const SLOTS: u64 = 1021;
/// Slots for many servers.
const SLOTS_FOR_MANY: u64 = 4093;
/// From this number of servers on.
const MANY: usize = 64;
/// What a waiting time is multiplied with before it is divided by a weight.
const PRECISION: u128 = 1 << 32;

/// A candidate with the number that its lots come from.
type Seeded<'a> = (u64, &'a Candidate<'a>);

/// Each slot is drawn by lot among the servers, with chances in proportion to their weights: the smallest of the
/// exponentially distributed waiting times `-ln(u) / weight` wins. A server's lots do not depend on who else is there.
pub(super) fn ring(candidates: &[Candidate<'_>]) -> Vec<u16> {
    let slots = if candidates.len() < MANY { SLOTS } else { SLOTS_FOR_MANY };
    let mut seeded: Vec<Seeded<'_>> = candidates.iter().map(|c| (hash::of_task(c.task).0, c)).collect();
    seeded.sort_by_key(|(_, c)| c.weight);
    let by_weight: Vec<&[Seeded<'_>]> = seeded.chunk_by(|(_, a), (_, b)| a.weight == b.weight).collect();
    (0..slots).filter_map(|slot| winner(slot, &by_weight)).collect()
}

/// Among equal weights the greatest lot waits least, so that few waiting times have to be computed.
fn winner(slot: u64, by_weight: &[&[Seeded<'_>]]) -> Option<u16> {
    let draw = |group: &&[Seeded<'_>]| {
        let lots = group.iter().map(|(seed, c)| (hash::mix(*seed, slot), c.task, *c));
        lots.max_by_key(|(lot, task, _)| (*lot, *task)).map(|(lot, _, c)| (lot, c.weight, c.index))
    };
    let best = by_weight.iter().filter_map(draw);
    if by_weight.len() == 1 {
        return best.map(|(.., index)| index).next();
    }
    let waits = best.map(|(lot, weight, index)| {
        (waiting_time(lot) * PRECISION / u128::from(weight.max(1)), Reverse((lot, weight)), index)
    });
    waits.min().map(|(.., index)| index)
}

/// `-log2(lot / 2⁶⁴)` in units of 2⁻³². In whole numbers, because every node must come to the same result and a logarithm
/// of floating point numbers may differ in the last place between two processors.
fn waiting_time(lot: u64) -> u128 {
    let lot = lot.max(1);
    let zeros = lot.leading_zeros();
    // Between 1 and 2, with 63 bits behind the point. Squaring it tells one more bit of its logarithm.
    let mut mantissa = u128::from(lot << zeros);
    let mut logarithm = u128::from(63 - zeros);
    for _ in 0..32 {
        mantissa = (mantissa * mantissa) >> 63;
        logarithm <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            logarithm |= 1;
        }
    }
    (64 << 32) - logarithm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_are_logarithms() {
        assert_eq!(waiting_time(1 << 63), 1 << 32);
        assert_eq!(waiting_time(1 << 32), 32 << 32);
        // -log2(3/4) = 0.415037499278…, rounded up.
        assert_eq!(waiting_time(3 << 62), 1_782_572_487);
        assert_eq!(waiting_time(0), waiting_time(1));
    }
}
