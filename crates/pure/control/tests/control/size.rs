//! A large swarm: ten thousand tasks on a hundred nodes.

use crate::bench::{Bench, publish, spec};
use std::time::{Duration, Instant};

/// Generous, because tests are built without optimisation and share the machine; with it a full plan takes well under a
/// second and an idle one some milliseconds.
const BUDGET: Duration = Duration::from_mins(1);

#[test]
fn ten_thousand_tasks_are_planned_within_the_budget() {
    let mut bench = Bench::new(100);
    bench.settle();
    for n in 0..100 {
        let mut wanted = spec(&format!("s{n}"), 100);
        if n < 2 {
            wanted = publish(wanted, 8000 + u16::try_from(n).unwrap());
        }
        bench.create(wanted);
    }
    let started = Instant::now();
    bench.settle();
    let planned = started.elapsed();
    assert_eq!(bench.state.tasks().len(), 10_000);
    let started = Instant::now();
    assert!(bench.plan().changes.is_empty());
    let idle = started.elapsed();
    let started = Instant::now();
    let told = bench.assignment(5);
    let assigned = started.elapsed();
    assert!(told.tasks.len() >= 90, "spread evenly");
    println!("planned in {planned:?}, idle in {idle:?}, one node's assignment in {assigned:?}");
    assert!(planned < BUDGET, "{planned:?}");
    assert!(idle < BUDGET / 60, "{idle:?}");
}
