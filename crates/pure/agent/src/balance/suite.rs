//! What holds for every scheduler. A new one is in [`Scheduler::ALL`] and so is held to all of it.

use super::ring;
use proptest::prelude::*;
use shoal_model::lvs::{RING_SLOTS_MAX, RealServer, Scheduler};
use shoal_model::{Mac, TaskId};
use std::collections::BTreeMap;

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

pub(super) fn servers(weights: &[u32]) -> Vec<RealServer> {
    (0..).zip(weights).map(|(n, weight)| server(n, *weight)).collect()
}

pub(super) fn with_connections(servers: &[RealServer], counts: &[u64]) -> BTreeMap<TaskId, u64> {
    servers.iter().map(|server| server.task.clone()).zip(counts.iter().copied()).collect()
}

/// The ring while nobody has any connections.
fn idle_ring(scheduler: Scheduler, servers: &[RealServer]) -> Vec<u16> {
    ring(scheduler, servers, &BTreeMap::new())
}

fn shares(ring: &[u16]) -> BTreeMap<u16, usize> {
    ring.iter().fold(BTreeMap::new(), |mut shares, n| {
        *shares.entry(*n).or_default() += 1;
        shares
    })
}

/// The tasks that a ring leads to, slot by slot.
fn tasks(ring: &[u16], servers: &[RealServer]) -> Vec<TaskId> {
    ring.iter().map(|n| servers[usize::from(*n)].task.clone()).collect()
}

/// What a scheduler promises about shares while nobody has any connections. A new scheduler says it here.
enum Shares {
    /// Every server once, whatever its weight.
    Equal,
    /// As the weights are, within two slots and a hundredth of the ring, and at least one slot.
    ByWeight,
    /// Drawn by lot: within six standard deviations and ten slots of what the weights are.
    ByLot,
}

fn promise(scheduler: Scheduler) -> Shares {
    match scheduler {
        Scheduler::RoundRobin => Shares::Equal,
        Scheduler::SourceHash => Shares::ByLot,
        Scheduler::WeightedRoundRobin
        | Scheduler::LeastConnection
        | Scheduler::Maglev
        | Scheduler::PowerOfTwoChoices => Shares::ByWeight,
    }
}

/// The most slots in a hundred that may lead elsewhere than before, apart from those of the server that came or went.
fn moves_promised(scheduler: Scheduler) -> Option<usize> {
    match scheduler {
        Scheduler::SourceHash => Some(0),
        Scheduler::Maglev => Some(15),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ring has a few thousand slots")]
fn check_shares(scheduler: Scheduler, weights: &[u32], ring: &[u16]) -> Result<(), TestCaseError> {
    let shares = shares(ring);
    let slots = ring.len() as f64;
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    for (n, weight) in (0_u16..).zip(weights).filter(|(_, weight)| **weight > 0) {
        let found = shares.get(&n).copied().unwrap_or(0);
        let ideal = f64::from(*weight) * slots / sum;
        let off = (found as f64 - ideal).abs();
        let kept = match promise(scheduler) {
            Shares::Equal => found == 1,
            Shares::ByWeight => found >= 1 && off <= 2.0 + slots / 100.0,
            Shares::ByLot => off <= 10.0 + 6.0 * ideal.sqrt(),
        };
        prop_assert!(kept, "{scheduler:?}: {n} of weight {weight} has {found} slots instead of {ideal}");
    }
    Ok(())
}

#[test]
fn round_robin_is_strict_and_heeds_no_weights() {
    let ring = |weights: &[u32]| idle_ring(Scheduler::RoundRobin, &servers(weights));
    assert_eq!(ring(&[1, 1, 1]), [0, 1, 2]);
    assert_eq!(ring(&[5, 1]), [0, 1]);
    assert_eq!(ring(&[1, 0, 1]), [0, 2]);
}

#[test]
fn weighted_round_robin_is_strict_with_equal_weights_and_spreads_others_evenly() {
    let ring = |weights: &[u32]| idle_ring(Scheduler::WeightedRoundRobin, &servers(weights));
    assert_eq!(ring(&[100, 100]), [0, 1]);
    assert_eq!(ring(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn nobody_to_serve_is_an_empty_ring() {
    for scheduler in Scheduler::ALL {
        assert!(idle_ring(scheduler, &[]).is_empty());
        assert!(idle_ring(scheduler, &servers(&[0, 0])).is_empty());
    }
}

#[test]
fn more_servers_than_slots_still_give_a_bounded_ring() {
    let servers = servers(&vec![1; RING_SLOTS_MAX + 10]);
    for scheduler in Scheduler::ALL {
        let ring = idle_ring(scheduler, &servers);
        assert!(ring.len() <= RING_SLOTS_MAX && ring.len() > RING_SLOTS_MAX / 2, "{scheduler:?}");
    }
}

#[test]
fn of_two_the_less_loaded_gets_three_quarters() {
    let servers = servers(&[1, 1]);
    let ring = ring(Scheduler::PowerOfTwoChoices, &servers, &with_connections(&servers, &[9, 2]));
    let of_second = shares(&ring)[&1] * 100 / ring.len();
    assert!((68..=82).contains(&of_second), "{of_second} %");
}

#[test]
fn counts_that_change_shuffle_the_choices() {
    let servers = servers(&[1; 8]);
    let ring =
        |counts: &[u64]| ring(Scheduler::PowerOfTwoChoices, &servers, &with_connections(&servers, counts));
    let (before, after) = (ring(&[1, 2, 3, 4, 5, 6, 7, 8]), ring(&[11, 12, 13, 14, 15, 16, 17, 18]));
    let same = before.iter().zip(&after).filter(|(b, a)| b == a).count();
    assert!(same * 2 < before.len(), "{same} of {} slots are the same", before.len());
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![Just(0_u32), Just(1), 1..=256_u32], 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_ring_keeps_the_rules(
        weights in weights(),
        counts in prop::collection::vec(prop_oneof![0..20_u64, 0..100_000_u64, Just(u64::MAX)], 60),
    ) {
        let servers = servers(&weights);
        let connections = with_connections(&servers, &counts);
        for scheduler in Scheduler::ALL {
            let ring = super::ring(scheduler, &servers, &connections);
            prop_assert_eq!(&ring, &super::ring(scheduler, &servers, &connections), "not deterministic");
            prop_assert!(ring.len() <= RING_SLOTS_MAX);
            prop_assert_eq!(ring.is_empty(), weights.iter().all(|weight| *weight == 0));
            prop_assert!(ring.iter().all(|n| weights[usize::from(*n)] > 0));
        }
    }

    #[test]
    fn without_connections_shares_are_as_promised(weights in weights()) {
        let servers = servers(&weights);
        for scheduler in Scheduler::ALL {
            check_shares(scheduler, &weights, &idle_ring(scheduler, &servers))?;
        }
    }

    #[test]
    fn every_node_finds_the_same_server_for_a_client(
        (sorted, shuffled) in prop::collection::btree_map(0..100_u32, 1..=9_u32, 1..20).prop_flat_map(|weights| {
            let sorted: Vec<RealServer> = weights.into_iter().map(|(n, weight)| server(n, weight)).collect();
            (Just(sorted.clone()), Just(sorted).prop_shuffle())
        }),
        hash in any::<u32>(),
    ) {
        for scheduler in Scheduler::ALL.into_iter().filter(|s| s.is_hashed()) {
            let here = tasks(&idle_ring(scheduler, &sorted), &sorted);
            let there = tasks(&idle_ring(scheduler, &shuffled), &shuffled);
            let pick = |tasks: &[TaskId]| tasks[usize::try_from(hash).unwrap() % tasks.len()].clone();
            prop_assert_eq!(pick(&here), pick(&there));
            prop_assert_eq!(here, there);
        }
    }

    #[test]
    fn few_clients_move_when_a_server_goes_or_comes(
        weights in prop_oneof![prop::collection::vec(1..=256_u32, 2..30), prop::collection::vec(Just(1_u32), 2..30)],
        chosen in any::<prop::sample::Index>(),
    ) {
        let all = servers(&weights);
        let gone = chosen.index(all.len());
        let mut fewer = all.clone();
        fewer[gone].weight = 0;
        for scheduler in Scheduler::ALL {
            let Some(promised) = moves_promised(scheduler) else { continue };
            let (with, without) = (idle_ring(scheduler, &all), idle_ring(scheduler, &fewer));
            prop_assert_eq!(with.len(), without.len());
            let moved =
                with.iter().zip(&without).filter(|(w, wo)| usize::from(**w) != gone && w != wo).count();
            prop_assert!(
                moved * 100 <= promised * with.len(),
                "{:?}: {} of {} slots of others moved", scheduler, moved, with.len()
            );
        }
    }

    #[test]
    fn walking_the_ring_of_least_connection_evens_out(
        loaded in prop::collection::vec((1..=4_u32, 0..40_u64), 1..20),
    ) {
        let (weights, counts): (Vec<u32>, Vec<u64>) = loaded.into_iter().unzip();
        let servers = servers(&weights);
        let ring = super::ring(Scheduler::LeastConnection, &servers, &with_connections(&servers, &counts));
        let given = shares(&ring);
        let after = |n: u16| counts[usize::from(n)] + given[&n] as u64;
        let weight = |n: u16| u64::from(weights[usize::from(n)]);
        // Nobody's last connection should have gone to another; the one slot that everyone has is not counted.
        for a in (0..).take(weights.len()).filter(|a| given[a] > 1) {
            for b in (0..).take(weights.len()) {
                prop_assert!(after(a) * weight(b) <= (after(b) + 1) * weight(a), "{} is fuller than {}", a, b);
            }
        }
    }

    #[test]
    fn by_load_the_fullest_gets_no_more_than_its_share(
        loaded in prop::collection::vec((1..=8_u32, 0..400_u64), 2..20),
        scheduler in prop::sample::select(vec![Scheduler::LeastConnection, Scheduler::PowerOfTwoChoices]),
    ) {
        let (weights, counts): (Vec<u32>, Vec<u64>) = loaded.into_iter().unzip();
        let servers = servers(&weights);
        let ring = super::ring(scheduler, &servers, &with_connections(&servers, &counts));
        let load = |n: &usize| counts[*n] * 840 / u64::from(weights[*n]);
        let fullest = (0..weights.len()).max_by_key(load).unwrap();
        let slots = ring.iter().filter(|n| usize::from(**n) == fullest).count();
        let sum: u32 = weights.iter().sum();
        let share = weights[fullest] as usize * ring.len() / sum as usize;
        prop_assert!(slots <= share + 2, "{} slots instead of {} of {}", slots, share, ring.len());
    }
}
