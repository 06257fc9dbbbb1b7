//! One after the other, each as often as its weight asks for.

use super::eligible;
use shoal_model::lvs::{RING_SLOTS_MAX, RealServer};

/// With equal weights each server once, in order: strict round robin, as LVS does it. With others, the smooth weighted
/// form: a server of weight 5 beside one of weight 1 is not chosen five times in a row and then the other once, but
/// evenly spread.
pub(super) fn ring(servers: &[RealServer]) -> Vec<u16> {
    let mut turns = turns(&eligible(servers));
    let slots: u64 = turns.iter().map(|(_, weight)| weight).sum();
    let mut credit = vec![0_i128; turns.len()];
    let mut ring = Vec::new();
    for _ in 0..slots {
        let mut best = None;
        for (n, (_, weight)) in turns.iter_mut().enumerate() {
            credit[n] += i128::from(*weight);
            if best.is_none_or(|b: usize| credit[n] > credit[b]) {
                best = Some(n);
            }
        }
        let Some(best) = best else { break };
        credit[best] -= i128::from(slots);
        ring.push(turns[best].0);
    }
    ring
}

/// How many slots each server gets: its weight in lowest terms, or in proportion (but at least one) where those are more
/// than a ring has.
fn turns(servers: &[(u16, u32)]) -> Vec<(u16, u64)> {
    let divisor =
        servers.iter().fold(0, |d, (_, weight)| greatest_common_divisor(d, u64::from(*weight))).max(1);
    let exact: Vec<(u16, u64)> =
        servers.iter().map(|(n, weight)| (*n, u64::from(*weight) / divisor)).collect();
    let sum: u64 = exact.iter().map(|(_, weight)| weight).sum();
    let most = RING_SLOTS_MAX as u64;
    if sum <= most {
        return exact;
    }
    let spare = most.saturating_sub(exact.len() as u64);
    exact.into_iter().map(|(n, weight)| (n, 1 + (weight - 1) * spare / sum)).collect()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
