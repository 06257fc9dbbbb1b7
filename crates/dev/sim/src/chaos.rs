//! A run by seed: users who want this and that, faults, then peace, then the reckoning.

use crate::brain::Brain;
use crate::host::{Image, Pace};
use crate::invariants::{self, Broken};
use crate::links::Links;
use crate::trace::Trace;
use crate::world::World;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use shoal_control::admit;
use shoal_model::network::NetworkSpec;
use shoal_model::node::Availability;
use shoal_model::spec::{
    ContainerSpec, EndpointMode, EndpointSpec, FailureAction, GlobalService, NetworkAttachment, Placement,
    PortConfig, ReplicatedJob, ReplicatedService, RestartCondition, RestartPolicy, ServiceMode, ServiceSpec,
    TaskSpec, UpdateConfig, UpdateOrder,
};
use shoal_model::{NodeId, Service};
use shoal_store::{Change, Object};
use std::time::Duration;

/// How long users and faults rage.
const STORM: Duration = Duration::from_mins(5);
/// How long the cluster then has to come to rest: longer than every delay, monitor and grace.
const PEACE: Duration = Duration::from_mins(10);

/// What a run ended with.
pub struct Outcome {
    /// The invariant that broke, if any.
    pub broken: Option<Broken>,
    /// What happened.
    pub trace: Trace,
}

/// Runs one seed.
pub fn run(brain: Box<dyn Brain>, seed: u64, keep_trace: bool) -> Outcome {
    let mut dice = ChaCha12Rng::seed_from_u64(seed ^ 0x5ea1);
    let nodes = dice.random_range(2..=6);
    let managers = if nodes >= 3 && dice.random() { 3 } else { 1 };
    let mut world = World::new(brain, nodes, managers, seed);
    let while_a_job_runs = Duration::from_secs(dice.random_range(0..20));
    world.images.insert("job".to_owned(), Image::Exits { after: while_a_job_runs, code: 0 });
    world.trace.kept = keep_trace;
    let broken = storm(&mut world, &mut dice).and_then(|()| peace(&mut world, &mut dice)).err();
    Outcome { broken, trace: world.trace }
}

fn storm(world: &mut World, dice: &mut ChaCha12Rng) -> Result<(), Broken> {
    world.links.delay_max = Duration::from_millis(dice.random_range(1..=1500));
    world.links.loss_per_mille = dice.random_range(0..=100);
    world.pace = Pace::Random(Duration::from_millis(dice.random_range(10..=4000)));
    world.advance(Duration::from_secs(1))?;
    let end = world.now.plus(STORM);
    while world.now < end {
        if dice.random_range(0..100) < 60 {
            user(world, dice);
        } else {
            fault(world, dice);
        }
        world.advance(Duration::from_millis(dice.random_range(10..=8000)))?;
    }
    Ok(())
}

fn peace(world: &mut World, dice: &mut ChaCha12Rng) -> Result<(), Broken> {
    world.trace.note(world.now, || "peace".to_owned());
    world.links = Links::perfect();
    world.images.retain(|_, image| matches!(image, Image::Exits { code: 0, .. }));
    let manages: Vec<_> = world.managers.all.iter().map(|manager| manager.id.clone()).collect();
    for host in world.hosts.values_mut() {
        // Workers may stay away for good.
        if manages.contains(&host.id) || dice.random_range(0..4) > 0 {
            host.start();
        } else {
            host.kill();
        }
    }
    // Some nodes stay drained; most come back.
    for node in world.state().nodes().keys().cloned().collect::<Vec<_>>() {
        if dice.random_range(0..4) > 0 {
            set_availability(world, &node, Availability::Active);
        }
    }
    world.advance(PEACE)?;
    invariants::at_rest(world)
}

fn note(world: &mut World, line: impl FnOnce() -> String) {
    let now = world.now;
    world.trace.note(now, line);
}

fn pick<T: Clone>(dice: &mut ChaCha12Rng, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[dice.random_range(0..from.len())].clone())
}

fn services(world: &World) -> Vec<Service> {
    world.state().services().values().map(|service| Service::clone(service)).collect()
}

fn user(world: &mut World, dice: &mut ChaCha12Rng) {
    match dice.random_range(0..100) {
        0..30 => create_service(world, dice),
        30..65 => update_service(world, dice),
        65..75 => remove_service(world, dice),
        75..83 => create_network(world, dice),
        83..88 => remove_network(world, dice),
        _ => {
            let nodes: Vec<_> = world.state().nodes().keys().cloned().collect();
            let to = [Availability::Active, Availability::Drain, Availability::Pause];
            if let (Some(node), Some(to)) = (pick(dice, &nodes), pick(dice, &to)) {
                note(world, || format!("user: {node} becomes {to:?}"));
                set_availability(world, &node, to);
            }
        }
    }
}

fn create_service(world: &mut World, dice: &mut ChaCha12Rng) {
    if world.state().services().len() >= 8 {
        return;
    }
    let spec = random_spec(world, dice);
    let (state, now) = (world.state().clone(), world.now);
    let admitted = admit::create_service(&state, spec, now, &mut world.rng);
    if let Ok(service) = admitted {
        note(world, || {
            let mode = &service.spec.mode;
            format!("user: creates {} {mode:?} {:?}", service.spec.name, service.spec.endpoint_spec)
        });
        world.request(vec![Change::Create(Object::from(service))]);
    }
}

fn random_spec(world: &World, dice: &mut ChaCha12Rng) -> ServiceSpec {
    let mode = match dice.random_range(0..10) {
        0..7 => ServiceMode {
            replicated: Some(ReplicatedService { replicas: Some(dice.random_range(0..=6)) }),
            ..ServiceMode::default()
        },
        7..9 => ServiceMode { global: Some(GlobalService {}), ..ServiceMode::default() },
        _ => ServiceMode {
            replicated_job: Some(ReplicatedJob {
                max_concurrent: Some(dice.random_range(1..=3)),
                total_completions: Some(dice.random_range(1..=5)),
            }),
            ..ServiceMode::default()
        },
    };
    let job = mode.replicated_job.is_some();
    let image = if job { "job" } else { ["web", "api", "db"][dice.random_range(0..3)] };
    let condition =
        if dice.random_range(0..5) == 0 { RestartCondition::OnFailure } else { RestartCondition::Any };
    let networks: Vec<_> = world.state().networks().values().filter(|n| !n.spec.ingress).cloned().collect();
    let network = pick(dice, &networks).filter(|_| dice.random());
    let target = |network: &shoal_model::Network| network.id.to_string();
    let attachment =
        network.map(|n| NetworkAttachment { target: target(&n), ..NetworkAttachment::default() });
    let mode_of_endpoint = if dice.random_range(0..6) == 0 { EndpointMode::Dnsrr } else { EndpointMode::Vip };
    let ports = if mode_of_endpoint == EndpointMode::Vip { random_ports(dice) } else { Vec::new() };
    ServiceSpec {
        name: format!("s{}", dice.random_range(0..20)),
        task_template: TaskSpec {
            container_spec: Some(ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() }),
            restart_policy: Some(RestartPolicy { condition: Some(condition), ..RestartPolicy::default() }),
            placement: random_placement(dice),
            networks: attachment.into_iter().collect(),
            ..TaskSpec::default()
        },
        mode,
        update_config: (!job).then(|| random_update(dice)),
        endpoint_spec: Some(EndpointSpec { mode: Some(mode_of_endpoint), ports }),
        ..ServiceSpec::default()
    }
}

fn random_ports(dice: &mut ChaCha12Rng) -> Vec<PortConfig> {
    let published = match dice.random_range(0..4) {
        0 => return Vec::new(),
        1 => 0,
        _ => 8000 + dice.random_range(0..6),
    };
    let host = dice.random_range(0..5) == 0;
    let mode =
        if host { shoal_model::spec::PublishMode::Host } else { shoal_model::spec::PublishMode::Ingress };
    vec![PortConfig {
        target_port: 80,
        published_port: published,
        publish_mode: Some(mode),
        ..PortConfig::default()
    }]
}

fn random_placement(dice: &mut ChaCha12Rng) -> Option<Placement> {
    (dice.random_range(0..6) == 0).then(|| Placement {
        max_replicas: dice.random_range(0..3),
        constraints: if dice.random() { vec!["node.hostname != n2".to_owned()] } else { Vec::new() },
        ..Placement::default()
    })
}

fn random_update(dice: &mut ChaCha12Rng) -> UpdateConfig {
    UpdateConfig {
        parallelism: dice.random_range(0..=3),
        delay: dice.random_range(0..3) * 1_000_000_000,
        failure_action: pick(
            dice,
            &[None, Some(FailureAction::Pause), Some(FailureAction::Continue), Some(FailureAction::Rollback)],
        )
        .flatten(),
        monitor: dice.random_range(0..10) * 1_000_000_000,
        max_failure_ratio: if dice.random() { 0.0 } else { 0.5 },
        order: if dice.random() { UpdateOrder::StartFirst } else { UpdateOrder::StopFirst },
    }
}

fn update_service(world: &mut World, dice: &mut ChaCha12Rng) {
    let Some(service) = pick(dice, &services(world)) else { return };
    let mut spec = service.spec.clone();
    let rollback = service.previous_spec.is_some() && dice.random_range(0..8) == 0;
    match dice.random_range(0..4) {
        0 | 1 if spec.mode.replicated.is_some() => {
            let replicas = Some(dice.random_range(0..=8));
            spec.mode.replicated = Some(ReplicatedService { replicas });
        }
        2 => {
            if let Some(endpoint) =
                spec.endpoint_spec.as_mut().filter(|e| e.mode != Some(EndpointMode::Dnsrr))
            {
                endpoint.ports = random_ports(dice);
            }
        }
        _ => spec.task_template.force_update += 1,
    }
    let (state, now) = (world.state().clone(), world.now);
    let version = service.meta.version;
    let admitted = admit::update_service(&state, &service.id, version, spec, rollback, now);
    if let Ok(changed) = admitted {
        note(world, || format!("user: updates {} (rollback {rollback})", service.spec.name));
        world.request(vec![Change::Update(Object::from(changed))]);
    }
}

fn remove_service(world: &mut World, dice: &mut ChaCha12Rng) {
    let Some(service) = pick(dice, &services(world)) else { return };
    note(world, || format!("user: removes {}", service.spec.name));
    world.request(vec![Change::Remove { key: service.id.into(), if_version: None }]);
}

fn create_network(world: &mut World, dice: &mut ChaCha12Rng) {
    let number = dice.random_range(0..5);
    let spec =
        NetworkSpec { name: format!("net{number}"), enable_ipv6: number % 2 == 1, ..NetworkSpec::default() };
    let (state, now) = (world.state().clone(), world.now);
    let admitted = admit::create_network(&state, spec, "overlay", now, &mut world.rng);
    if let Ok(network) = admitted {
        note(world, || format!("user: creates network {}", network.spec.name));
        world.request(vec![Change::Create(Object::from(network))]);
    }
}

fn remove_network(world: &mut World, dice: &mut ChaCha12Rng) {
    let networks: Vec<_> = world.state().networks().values().filter(|n| !n.spec.ingress).cloned().collect();
    let Some(network) = pick(dice, &networks) else { return };
    if admit::remove_network(world.state(), &network.id).is_ok() {
        note(world, || format!("user: removes network {}", network.spec.name));
        world.request(vec![Change::Remove { key: network.id.clone().into(), if_version: None }]);
    }
}

fn set_availability(world: &mut World, node: &NodeId, to: Availability) {
    let Some(stored) = world.state().nodes().get(node) else { return };
    let mut spec = stored.spec.clone();
    spec.availability = to;
    let version = stored.meta.version;
    if let Ok(changed) = admit::update_node(world.state(), node, version, spec) {
        world.request(vec![Change::Update(Object::from(changed))]);
    }
}

fn fault(world: &mut World, dice: &mut ChaCha12Rng) {
    let ids: Vec<_> = world.hosts.keys().cloned().collect();
    let Some(node) = pick(dice, &ids) else { return };
    let name = world.name_of(&node).to_owned();
    match dice.random_range(0..100) {
        0..20 => {
            note(world, || format!("fault: {name} loses power"));
            if let Some(host) = world.hosts.get_mut(&node) {
                host.kill();
            }
        }
        20..45 => {
            note(world, || format!("fault: {name} starts"));
            if let Some(host) = world.hosts.get_mut(&node) {
                host.start();
            }
        }
        45..57 => {
            let Some(other) = pick(dice, &ids).filter(|other| *other != node) else { return };
            note(world, || format!("fault: {name} and {other} are parted"));
            world.links.cut(&node, &other);
        }
        57..65 => {
            note(world, || "fault: all are joined".to_owned());
            world.links.heal();
        }
        65..72 => {
            let nth = dice.random_range(0..world.managers.all.len());
            note(world, || format!("fault: manager {nth} takes over"));
            world.take_over(nth);
        }
        72..80 => {
            let image = ["web", "api", "db"][dice.random_range(0..3)].to_owned();
            let behaviour = match dice.random_range(0..4) {
                0 => Image::Missing,
                1 => Image::Exits { after: Duration::from_secs(dice.random_range(0..8)), code: 1 },
                _ => Image::Serves,
            };
            note(world, || format!("fault: image {image} {behaviour:?}"));
            world.images.insert(image, behaviour);
        }
        _ => {
            let Some(host) = world.hosts.get_mut(&node) else { return };
            let tasks: Vec<_> = host.containers.keys().cloned().collect();
            let Some(task) = pick(dice, &tasks) else { return };
            if host.crash(&task) {
                note(world, || format!("fault: task {task} crashes on {name}"));
            }
        }
    }
}
