//! Whatever the state, plans lead to rest, are possible, and say the same again for the same dice.

use crate::bench::{Bench, node_id, on, publish, seconds, spec};
use proptest::prelude::*;
use shoal_model::network::NetworkSpec;
use shoal_model::node::Availability;
use shoal_model::spec::{GlobalService, ServiceMode, ServiceSpec};
use shoal_model::{ServiceId, TaskState};

#[derive(Debug, Clone)]
enum Step {
    Create { replicas: u64, global: bool, port: u16, network: bool },
    Scale(usize, u64),
    Force(usize),
    Remove(usize),
    Fail(usize),
    Lose(usize),
    Availability(usize, Availability),
    Wait(u64),
    Run,
}

fn step() -> impl Strategy<Value = Step> {
    let availability =
        prop::sample::select(vec![Availability::Active, Availability::Drain, Availability::Pause]);
    prop_oneof![
        3 => (0..6_u64, any::<bool>(), 0..3_u16, any::<bool>()).prop_map(
            |(replicas, global, port, network)| Step::Create { replicas, global, port, network }
        ),
        2 => (0..8_usize, 0..7_u64).prop_map(|(n, replicas)| Step::Scale(n, replicas)),
        2 => (0..8_usize).prop_map(Step::Force),
        1 => (0..8_usize).prop_map(Step::Remove),
        2 => (0..40_usize).prop_map(Step::Fail),
        1 => (1..4_usize).prop_map(Step::Lose),
        1 => (0..4_usize, availability).prop_map(|(n, to)| Step::Availability(n, to)),
        2 => (1..20_u64).prop_map(Step::Wait),
        3 => Just(Step::Run),
    ]
}

fn wanted(nth: usize, replicas: u64, global: bool, port: u16, network: bool) -> ServiceSpec {
    let mut wanted = spec(&format!("s{nth}"), replicas);
    if global {
        wanted.mode = ServiceMode { global: Some(GlobalService {}), ..ServiceMode::default() };
    }
    if port > 0 {
        wanted = publish(wanted, if port == 1 { 0 } else { 8000 + u16::try_from(nth).unwrap() });
    }
    if network { on(wanted, "net") } else { wanted }
}

fn take(bench: &mut Bench, services: &mut Vec<ServiceId>, number: usize, step: &Step) {
    let nth = |n: usize, len: usize| (len > 0).then(|| n % len);
    match *step {
        Step::Create { replicas, global, port, network } => {
            services.push(bench.create(wanted(number, replicas, global, port, network)));
        }
        Step::Scale(n, replicas) => {
            let Some(n) = nth(n, services.len()) else { return };
            bench.update(&services[n].clone(), |spec| {
                if let Some(replicated) = &mut spec.mode.replicated {
                    replicated.replicas = Some(replicas);
                }
            });
        }
        Step::Force(n) => {
            let Some(n) = nth(n, services.len()) else { return };
            bench.update(&services[n].clone(), |spec| spec.task_template.force_update += 1);
        }
        Step::Remove(n) => {
            let Some(n) = nth(n, services.len()) else { return };
            let id = services.remove(n);
            bench.remove(id);
        }
        Step::Fail(n) => {
            let running = |t: &&std::sync::Arc<shoal_model::Task>| t.status.state == TaskState::Running;
            let tasks: Vec<_> = bench.state.tasks().values().filter(running).cloned().collect();
            let Some(n) = nth(n, tasks.len()) else { return };
            bench.tell(&tasks[n], TaskState::Failed);
        }
        Step::Lose(n) => bench.lose(n),
        Step::Availability(n, to) => bench.set_node(n, |node| node.spec.availability = to),
        Step::Wait(time) => bench.wait(seconds(time)),
        Step::Run => bench.run(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_possible_and_leads_to_rest(steps in prop::collection::vec(step(), 1..25)) {
        let mut bench = Bench::new(4);
        bench.network(NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() });
        let mut services = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            take(&mut bench, &mut services, number, step);
            let mut again = bench.rng.clone();
            let plan = bench.plan();
            let same = shoal_control::tick(&bench.state, &bench.liveness, bench.now, &mut again);
            prop_assert_eq!(&plan, &same);
            for report in &plan.report {
                let possible = !matches!(report, shoal_control::Report::NotPossible(_));
                prop_assert!(possible, "{report:?}");
            }
            prop_assert_eq!(bench.write(plan.changes), Ok(()));
            bench.settle();
        }
        // With all nodes there and time enough, everything runs.
        for n in 0..4 {
            bench.set_node(n, |node| node.spec.availability = Availability::Active);
        }
        for _ in 0..40 {
            bench.wait(seconds(10));
            bench.run();
        }
        for id in &services {
            let service = bench.service(id);
            let status = shoal_control::service_status(&bench.state, &service);
            prop_assert_eq!(status.running, status.desired, "{} {:?}", service.spec.name, service.update_status);
            if service.spec.is_global() {
                prop_assert_eq!(status.running, 4);
            }
        }
        prop_assert!(bench.state.nodes().contains_key(&node_id(3)));
    }
}
