//! Services in scripts.

use super::objects::{remove, write};
use super::words::{Words, nanos};
use super::{Answer, words};
use crate::world::World;
use anyhow::{Result, bail};
use shoal_control::admit;
use shoal_model::Service;
use shoal_model::spec::{
    ContainerSpec, EndpointMode, FailureAction, FileTarget, GlobalJob, GlobalService, NetworkAttachment,
    PlacementPreference, PortConfig, PublishMode, ReplicatedJob, ReplicatedService, Reservations,
    ResourceRequirements, RestartCondition, SecretReference, ServiceMode, ServiceSpec, SpreadOver,
    UpdateOrder,
};
use shoal_store::{Change, Object};
use std::sync::Arc;

pub(super) fn service(world: &mut World, words: &mut Words<'_>) -> Answer {
    let verb = words.next("create, update, scale, rollback or rm")?;
    match verb {
        "create" => create(world, words),
        "scale" => {
            let mut answers = Vec::new();
            for (name, replicas) in words.take_all("") {
                let replicas = Some(replicas.parse()?);
                let change = |spec: &mut ServiceSpec| {
                    spec.mode.replicated = Some(ReplicatedService { replicas });
                    Ok(())
                };
                answers.push(update(world, name, false, change)?);
            }
            Ok(answers.join("\n"))
        }
        _ => {
            let name = words.next("a service")?;
            match verb {
                "update" => update(world, name, false, |spec| alter(spec, words)),
                "rollback" => update(world, name, true, |_| Ok(())),
                "rm" => match world.state().find_service(name).map(|service| service.id.clone()) {
                    Ok(id) => Ok(remove(world, id)),
                    Err(error) => Ok(error.to_string()),
                },
                _ => bail!("services are created, updated, scaled, rolled back and removed"),
            }
        }
    }
}

fn create(world: &mut World, words: &mut Words<'_>) -> Answer {
    let mut spec = ServiceSpec { name: words.next("a name")?.to_owned(), ..ServiceSpec::default() };
    let container = ContainerSpec { image: "web".to_owned(), ..ContainerSpec::default() };
    spec.task_template.container_spec = Some(container);
    if let Some(secret) = words.take("secret") {
        let id = world.state().find_secret(secret)?.id.clone();
        use_secret(&mut spec, secret, id.as_str());
    }
    alter(&mut spec, words)?;
    let (state, now) = (world.state().clone(), world.now);
    match admit::create_service(&state, spec, now, &mut world.rng) {
        Ok(service) => Ok(write(world, Change::Create(Object::from(service)))),
        Err(refused) => Ok(refused.to_string()),
    }
}

fn use_secret(spec: &mut ServiceSpec, name: &str, id: &str) {
    let file = FileTarget { name: name.to_owned(), ..FileTarget::default() };
    let reference =
        SecretReference { file: Some(file), secret_id: id.to_owned(), secret_name: name.to_owned() };
    spec.task_template.container_spec.get_or_insert_default().secrets.push(reference);
}

fn update(
    world: &mut World,
    name: &str,
    rollback: bool,
    change: impl FnOnce(&mut ServiceSpec) -> Result<()>,
) -> Answer {
    let stored: Arc<Service> = match world.state().find_service(name) {
        Ok(service) => Arc::clone(service),
        Err(error) => return Ok(error.to_string()),
    };
    let mut spec = stored.spec.clone();
    change(&mut spec)?;
    let (state, now) = (world.state().clone(), world.now);
    match admit::update_service(&state, &stored.id, stored.meta.version, spec, rollback, now) {
        Ok(service) => Ok(write(world, Change::Update(Object::from(service)))),
        Err(refused) => Ok(refused.to_string()),
    }
}

fn alter(spec: &mut ServiceSpec, words: &mut Words<'_>) -> Result<()> {
    alter_mode(spec, words)?;
    alter_container(spec, words)?;
    alter_placement(spec, words)?;
    alter_restart(spec, words)?;
    alter_update(spec, words)?;
    alter_labels(spec, words);
    alter_endpoint(spec, words)
}

fn alter_labels(spec: &mut ServiceSpec, words: &mut Words<'_>) {
    let owned = |(label, value): (&str, &str)| (label.to_owned(), value.to_owned());
    spec.labels.extend(words.take_all("label.").into_iter().map(owned));
    let container = spec.task_template.container_spec.get_or_insert_default();
    container.labels.extend(words.take_all("container-label.").into_iter().map(owned));
}

fn alter_mode(spec: &mut ServiceSpec, words: &mut Words<'_>) -> Result<()> {
    let replicas: Option<u64> = words.take("replicas").map(str::parse).transpose()?;
    let completions: Option<u64> = words.take("completions").map(str::parse).transpose()?;
    let concurrent: Option<u64> = words.take("concurrent").map(str::parse).transpose()?;
    match words.take("mode") {
        Some("global") => {
            spec.mode = ServiceMode { global: Some(GlobalService {}), ..ServiceMode::default() }
        }
        Some("global-job") => {
            spec.mode = ServiceMode { global_job: Some(GlobalJob {}), ..ServiceMode::default() };
        }
        Some("job") => {
            let job = ReplicatedJob { max_concurrent: concurrent, total_completions: completions };
            spec.mode = ServiceMode { replicated_job: Some(job), ..ServiceMode::default() };
        }
        Some(other) => bail!("{other} is no mode"),
        None => {}
    }
    if replicas.is_some() {
        spec.mode.replicated = Some(ReplicatedService { replicas });
    }
    Ok(())
}

fn alter_container(spec: &mut ServiceSpec, words: &mut Words<'_>) -> Result<()> {
    if let Some(image) = words.take("image") {
        let container = spec.task_template.container_spec.get_or_insert_default();
        image.clone_into(&mut container.image);
    }
    if words.flag("force") {
        spec.task_template.force_update += 1;
    }
    if let Some(networks) = words.take("networks") {
        let attach =
            |target: &str| NetworkAttachment { target: target.to_owned(), ..NetworkAttachment::default() };
        spec.task_template.networks = networks.split(',').map(attach).collect();
    }
    let megabytes: Option<i64> = words.take("reserve-megabytes").map(str::parse).transpose()?;
    let cpus: Option<i64> = words.take("reserve-cpus").map(str::parse).transpose()?;
    if megabytes.is_some() || cpus.is_some() {
        let reservations = Reservations {
            nano_cpus: cpus.unwrap_or(0) * 1_000_000_000,
            memory_bytes: megabytes.unwrap_or(0) << 20,
            ..Reservations::default()
        };
        let resources = ResourceRequirements { reservations: Some(reservations), limits: None };
        spec.task_template.resources = Some(resources);
    }
    Ok(())
}

fn alter_placement(spec: &mut ServiceSpec, words: &mut Words<'_>) -> Result<()> {
    if let Some(constraint) = words.take("constraint") {
        // In a script the operator is written `:` or `!`, because `=` parts keys from values.
        let text = constraint.replacen(':', "==", 1).replacen('!', "!=", 1);
        spec.task_template.placement.get_or_insert_default().constraints = vec![text];
    }
    if let Some(max) = words.take("max-per-node") {
        spec.task_template.placement.get_or_insert_default().max_replicas = max.parse()?;
    }
    if let Some(label) = words.take("spread") {
        let spread = SpreadOver { spread_descriptor: format!("node.labels.{label}") };
        let preference = PlacementPreference { spread: Some(spread) };
        spec.task_template.placement.get_or_insert_default().preferences = vec![preference];
    }
    Ok(())
}

fn alter_restart(spec: &mut ServiceSpec, words: &mut Words<'_>) -> Result<()> {
    let policy = &mut spec.task_template.restart_policy;
    match words.take("restart") {
        Some("any") => policy.get_or_insert_default().condition = Some(RestartCondition::Any),
        Some("none") => policy.get_or_insert_default().condition = Some(RestartCondition::None),
        Some("on-failure") => policy.get_or_insert_default().condition = Some(RestartCondition::OnFailure),
        Some(other) => bail!("{other} is no restart condition"),
        None => {}
    }
    if let Some(delay) = words.take("restart-delay") {
        policy.get_or_insert_default().delay = Some(nanos(delay)?);
    }
    if let Some(attempts) = words.take("restart-attempts") {
        policy.get_or_insert_default().max_attempts = Some(attempts.parse()?);
    }
    if let Some(window) = words.take("restart-window") {
        policy.get_or_insert_default().window = Some(nanos(window)?);
    }
    Ok(())
}

fn alter_update(spec: &mut ServiceSpec, words: &mut Words<'_>) -> Result<()> {
    let config = &mut spec.update_config;
    if let Some(parallelism) = words.take("parallelism") {
        config.get_or_insert_default().parallelism = parallelism.parse()?;
    }
    if let Some(delay) = words.take("update-delay") {
        config.get_or_insert_default().delay = words::nanos(delay)?;
    }
    if let Some(monitor) = words.take("monitor") {
        config.get_or_insert_default().monitor = words::nanos(monitor)?;
    }
    if let Some(ratio) = words.take("max-failure-ratio") {
        config.get_or_insert_default().max_failure_ratio = ratio.parse()?;
    }
    if let Some(order) = words.take("order") {
        config.get_or_insert_default().order = match order {
            "start-first" => UpdateOrder::StartFirst,
            "stop-first" => UpdateOrder::StopFirst,
            other => bail!("{other} is no order"),
        };
    }
    if let Some(action) = words.take("on-failure") {
        config.get_or_insert_default().failure_action = Some(match action {
            "pause" => FailureAction::Pause,
            "continue" => FailureAction::Continue,
            "rollback" => FailureAction::Rollback,
            other => bail!("{other} is no failure action"),
        });
    }
    Ok(())
}

fn alter_endpoint(spec: &mut ServiceSpec, words: &mut Words<'_>) -> Result<()> {
    match words.take("endpoint") {
        Some("dnsrr") => spec.endpoint_spec.get_or_insert_default().mode = Some(EndpointMode::Dnsrr),
        Some("vip") => spec.endpoint_spec.get_or_insert_default().mode = Some(EndpointMode::Vip),
        Some(other) => bail!("{other} is no endpoint mode"),
        None => {}
    }
    for (key, mode) in [("publish", PublishMode::Ingress), ("publish-host", PublishMode::Host)] {
        let Some(text) = words.take(key) else { continue };
        let ports = &mut spec.endpoint_spec.get_or_insert_default().ports;
        ports.retain(|port| port.mode() != mode);
        for text in text.split(',').filter(|text| *text != "none") {
            let (published, target) = text.split_once(':').unwrap_or((text, text));
            ports.push(PortConfig {
                target_port: target.parse()?,
                published_port: if published.is_empty() { 0 } else { published.parse()? },
                publish_mode: Some(mode),
                ..PortConfig::default()
            });
        }
    }
    Ok(())
}
