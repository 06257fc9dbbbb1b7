//! By the client's address: Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4). Every node computes the same ring,
//! so a client meets the same server whichever node it enters by. Shares are exact to a slot; when a server comes or goes,
//! few of the others' clients move.

use super::{Candidate, hash};

/// Slots of a ring: a prime, about a hundred times the usual number of servers.
const SLOTS: usize = 1021;
/// Slots for many servers: the greatest prime within [`shoal_model::lvs::RING_SLOTS_MAX`].
const SLOTS_FOR_MANY: usize = 4093;
/// From this number of servers on.
const MANY: usize = 64;

/// A server's order of preference for slots: a permutation of all of them.
struct Preference {
    index: u16,
    weight: u64,
    next: usize,
    step: usize,
    /// Turns saved up, in units of the greatest weight.
    credit: u64,
}

pub(super) fn ring(candidates: &[Candidate<'_>]) -> Vec<u16> {
    let slots = if candidates.len() < MANY { SLOTS } else { SLOTS_FOR_MANY };
    let greatest = candidates.iter().map(|candidate| u64::from(candidate.weight)).max().unwrap_or(0);
    // Whoever comes first wins ties: an order that does not depend on who else is there.
    let mut in_order: Vec<&Candidate<'_>> = candidates.iter().collect();
    in_order.sort_by_key(|candidate| candidate.task);
    let mut preferences: Vec<Preference> =
        in_order.into_iter().map(|candidate| preference(candidate, slots, greatest)).collect();
    let mut ring: Vec<Option<u16>> = vec![None; slots];
    let mut free = if preferences.is_empty() { 0 } else { slots };
    while free > 0 {
        for preference in &mut preferences {
            preference.credit += preference.weight;
            if preference.credit >= greatest && free > 0 {
                preference.credit -= greatest;
                take_next(preference, &mut ring);
                free -= 1;
            }
        }
    }
    ring.into_iter().flatten().collect()
}

/// Takes the first free slot in the server's order. There is one.
fn take_next(preference: &mut Preference, ring: &mut [Option<u16>]) {
    let slots = ring.len();
    for _ in 0..slots {
        let slot = preference.next;
        preference.next = (slot + preference.step) % slots;
        if let Some(free @ None) = ring.get_mut(slot) {
            *free = Some(preference.index);
            return;
        }
    }
}

fn preference(candidate: &Candidate<'_>, slots: usize, greatest: u64) -> Preference {
    let (offset, skip) = hash::of_task(candidate.task);
    let within = |number: u64, bound: usize| usize::try_from(number % bound as u64).unwrap_or(0);
    let weight = u64::from(candidate.weight);
    Preference {
        index: candidate.index,
        weight,
        next: within(offset, slots),
        // The number of slots is a prime, so every step from 1 to one less leads through all of them.
        step: 1 + within(skip, slots - 1),
        // Everyone has a turn in the first round, so that nobody is left out for having little weight.
        credit: greatest.saturating_sub(weight),
    }
}
