//! Schedulers of the virtual server as rings: the kernel picks `ring[next % len]` or `ring[hash % len]`, so a new
//! scheduler is a new file here and nothing in the kernel.

mod round_robin;
mod source_hash;

use shoal_model::lvs::{RING_SLOTS_MAX, RealServer, Scheduler};

/// The ring of a virtual service: indexes into `servers`, each in proportion to its weight. A server of weight 0 is not
/// in it; the ring is empty when there is no other. At most [`RING_SLOTS_MAX`] slots, and so at most that many servers.
pub fn ring(scheduler: Scheduler, servers: &[RealServer]) -> Vec<u16> {
    match scheduler {
        Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => round_robin::ring(servers),
        Scheduler::SourceHash | Scheduler::Maglev => source_hash::ring(servers),
        Scheduler::LeastConnection | Scheduler::PowerOfTwoChoices => round_robin::ring(servers),
    }
}

/// The servers that may be in a ring, by index, with their weights.
fn eligible(servers: &[RealServer]) -> Vec<(u16, u32)> {
    let open = servers.iter().enumerate().filter(|(_, server)| server.weight > 0);
    open.filter_map(|(n, server)| Some((u16::try_from(n).ok()?, server.weight)))
        .take(RING_SLOTS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shoal_model::{Mac, TaskId};
    use std::collections::BTreeMap;

    const SCHEDULERS: [Scheduler; 2] = [Scheduler::RoundRobin, Scheduler::SourceHash];

    fn server(n: u32, weight: u32) -> RealServer {
        RealServer {
            task: TaskId::from_random(u128::from(n) * 0x9e37_79b9_7f4a_7c15),
            address: std::net::Ipv4Addr::from(0x0a00_0000 + n).into(),
            address6: None,
            mac: Mac::default(),
            port: 80,
            weight,
        }
    }

    fn servers(weights: &[u32]) -> Vec<RealServer> {
        (0..).zip(weights).map(|(n, weight)| server(n, *weight)).collect()
    }

    fn shares(ring: &[u16]) -> BTreeMap<u16, usize> {
        ring.iter().fold(BTreeMap::new(), |mut shares, n| {
            *shares.entry(*n).or_default() += 1;
            shares
        })
    }

    #[test]
    fn equal_weights_are_strict_round_robin() {
        assert_eq!(ring(Scheduler::RoundRobin, &servers(&[1, 1, 1])), [0, 1, 2]);
        assert_eq!(ring(Scheduler::RoundRobin, &servers(&[100, 100])), [0, 1]);
        assert_eq!(ring(Scheduler::RoundRobin, &servers(&[1, 0, 1])), [0, 2]);
    }

    #[test]
    fn unequal_weights_are_spread_evenly() {
        assert_eq!(ring(Scheduler::RoundRobin, &servers(&[5, 1, 1])), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn nobody_to_serve_is_an_empty_ring() {
        for scheduler in SCHEDULERS {
            assert!(ring(scheduler, &[]).is_empty());
            assert!(ring(scheduler, &servers(&[0, 0])).is_empty());
        }
    }

    #[test]
    fn more_servers_than_slots_still_give_a_bounded_ring() {
        for scheduler in SCHEDULERS {
            let ring = ring(scheduler, &servers(&vec![1; RING_SLOTS_MAX + 10]));
            assert!(ring.len() <= RING_SLOTS_MAX && ring.len() > RING_SLOTS_MAX / 2);
        }
    }

    #[test]
    fn with_source_hash_few_clients_move_when_a_server_goes() {
        let all = servers(&[1; 10]);
        let without: Vec<RealServer> = all
            .iter()
            .enumerate()
            .map(|(n, s)| RealServer { weight: u32::from(n != 3), ..s.clone() })
            .collect();
        let (before, after) = (ring(Scheduler::SourceHash, &all), ring(Scheduler::SourceHash, &without));
        assert_eq!(before.len(), after.len());
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != 3 && b != a).count();
        assert!(moved * 10 < before.len(), "{moved} of {} slots of the others moved", before.len());
    }

    #[test]
    fn with_source_hash_the_order_of_servers_does_not_matter() {
        let all = servers(&[1, 2, 3, 4]);
        let reversed: Vec<RealServer> = all.iter().rev().cloned().collect();
        let chosen = |servers: &[RealServer]| -> Vec<TaskId> {
            ring(Scheduler::SourceHash, servers)
                .iter()
                .map(|n| servers[usize::from(*n)].task.clone())
                .collect()
        };
        assert_eq!(chosen(&all), chosen(&reversed));
    }

    proptest! {
        #[test]
        fn every_ring_keeps_the_rules(weights in prop::collection::vec(prop_oneof![Just(0_u32), 1..200_u32], 0..60)) {
            let servers = servers(&weights);
            for scheduler in SCHEDULERS {
                let ring = ring(scheduler, &servers);
                prop_assert_eq!(&ring, &super::ring(scheduler, &servers), "not deterministic");
                prop_assert!(ring.len() <= RING_SLOTS_MAX);
                let shares = shares(&ring);
                for (n, weight) in (0_u16..).zip(&weights) {
                    prop_assert_eq!(shares.contains_key(&n), *weight > 0, "{} with weight {}", n, weight);
                }
                check_shares(&shares, &weights, ring.len())?;
            }
        }
    }

    /// Each server's share of the ring is its share of the weights, within one slot and a hundredth of the ring.
    fn check_shares(
        shares: &BTreeMap<u16, usize>,
        weights: &[u32],
        slots: usize,
    ) -> Result<(), TestCaseError> {
        let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        for (n, slots_of_it) in shares {
            let ideal = u64::from(weights[usize::from(*n)]) * slots as u64 / sum.max(1);
            let off = ideal.abs_diff(*slots_of_it as u64);
            prop_assert!(off <= 2 + slots as u64 / 100, "{n} has {slots_of_it} slots instead of {ideal}");
        }
        Ok(())
    }
}
