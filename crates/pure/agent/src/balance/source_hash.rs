//! By the client's address: Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4). Every node computes the same ring,
//! so a client meets the same server whichever node it enters by; when a server goes, few other clients move.

use super::eligible;
use sha2::{Digest, Sha256};
use shoal_model::lvs::RealServer;

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

pub(super) fn ring(servers: &[RealServer]) -> Vec<u16> {
    let eligible = eligible(servers);
    let slots = if eligible.len() < MANY { SLOTS } else { SLOTS_FOR_MANY };
    let greatest = eligible.iter().map(|(_, weight)| u64::from(*weight)).max().unwrap_or(0);
    let mut preferences: Vec<Preference> = eligible
        .iter()
        .filter_map(|(index, weight)| {
            let server = servers.get(usize::from(*index))?;
            // Everyone has a turn in the first round, so that nobody is left out for having little weight.
            let credit = greatest.saturating_sub(u64::from(*weight));
            Some(Preference { credit, ..preference(*index, *weight, server, slots) })
        })
        .collect();
    // Whoever comes first wins ties: an order that does not depend on who else is there.
    preferences.sort_by_key(|p| servers.get(usize::from(p.index)).map(|s| s.task.clone()));
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

fn preference(index: u16, weight: u32, server: &RealServer, slots: usize) -> Preference {
    let digest = Sha256::digest(server.task.as_str());
    let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |n, byte| ((n << 8) | usize::from(*byte)) % slots);
    // The number of slots is a prime, so every step from 1 to one less leads through all of them.
    let step = 1 + number(&digest[8..16]) % (slots - 1);
    Preference { index, weight: u64::from(weight), next: number(&digest[..8]), step, credit: 0 }
}
