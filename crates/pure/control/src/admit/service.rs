//! Services.

use super::balancing::check_balancing;
use super::name::check_name;
use super::ports::{check_conflicts, check_endpoint, check_publishing, publishes_on_the_mesh};
use super::task_template::{check_mode, check_task_template, check_update};
use super::{AdmitError, Code};
use crate::ids::random_u128;
use rand::RngCore;
use shoal_model::service::{Endpoint, UpdateState, UpdateStatus};
use shoal_model::spec::{NetworkAttachment, ReplicatedService, ServiceSpec};
use shoal_model::{Meta, Service, ServiceId, Timestamp, Version};
use shoal_store::{LookupError, State};

/// Networks that every node has of its own; a spec keeps them by name.
const NODE_LOCAL_NETWORKS: [&str; 3] = ["bridge", "host", "none"];

/// A new service. The caller proposes `Change::Create` with it.
pub fn create_service(
    state: &State,
    spec: ServiceSpec,
    now: Timestamp,
    rng: &mut dyn RngCore,
) -> Result<Service, AdmitError> {
    let spec = admit_spec(state, spec, None)?;
    if state.services().values().any(|other| other.spec.name == spec.name) {
        return Err(AdmitError::exists(format!(
            "name conflicts with an existing object: service {} already exists",
            spec.name
        )));
    }
    let is_job = spec.is_job();
    Ok(Service {
        id: ServiceId::from_random(random_u128(rng)),
        meta: Meta::created(0, now),
        spec,
        previous_spec: None,
        spec_version: Version::default(),
        previous_spec_version: None,
        endpoint: Endpoint::default(),
        update_status: None,
        job_iteration: is_job.then(Version::default),
        registry_auth: None,
        job_last_execution: if is_job { now } else { Timestamp::default() },
    })
}

/// A changed service. `version` is the one that the user has seen; with `rollback` the spec is ignored and the service
/// goes back to its previous one. The caller proposes `Change::Update` with the answer.
pub fn update_service(
    state: &State,
    id: &ServiceId,
    version: Version,
    spec: ServiceSpec,
    rollback: bool,
    now: Timestamp,
) -> Result<Service, AdmitError> {
    let stored = state.services().get(id);
    let stored = stored.ok_or_else(|| AdmitError::not_found(format!("service {id} not found")))?;
    let mut service = Service::clone(stored);
    service.meta.version = version;
    if rollback {
        let previous = service
            .previous_spec
            .take()
            .ok_or_else(|| AdmitError::precondition(format!("service {id} does not have a previous spec")))?;
        service.previous_spec = Some(std::mem::replace(&mut service.spec, previous));
        service.update_status = Some(UpdateStatus {
            state: UpdateState::RollbackStarted,
            started_at: now,
            completed_at: Timestamp::default(),
            message: "manually requested rollback".to_owned(),
        });
        return Ok(service);
    }
    let spec = admit_spec(state, spec, Some(id))?;
    check_change(&service.spec, &spec)?;
    if spec.is_job() {
        // Every update of a job runs it anew (swarmkit).
        let last = service.job_iteration.unwrap_or_default();
        service.job_iteration = Some(Version { index: last.index + 1 });
        service.job_last_execution = now;
    }
    service.previous_spec = Some(std::mem::replace(&mut service.spec, spec));
    service.update_status = None;
    Ok(service)
}

/// Whether a service may be removed; the caller proposes `Change::Remove`. Its tasks follow by themselves.
pub fn remove_service(state: &State, id: &ServiceId) -> Result<(), AdmitError> {
    let found = state.services().contains_key(id);
    if found { Ok(()) } else { Err(AdmitError::not_found(format!("service {id} not found"))) }
}

/// What an update must leave as it is.
fn check_change(old: &ServiceSpec, new: &ServiceSpec) -> Result<(), AdmitError> {
    let networks_moved =
        (!new.networks.is_empty() || !old.networks.is_empty()) && new.networks != old.networks;
    if networks_moved && new.task_template.networks == old.task_template.networks {
        return Err(AdmitError::unimplemented("networks must be migrated to TaskSpec before being changed"));
    }
    let mode = |spec: &ServiceSpec| (spec.is_global(), spec.is_job());
    if mode(old) != mode(new) {
        return Err(AdmitError::unimplemented("service mode change is not allowed"));
    }
    if old.name != new.name {
        return Err(AdmitError::unimplemented("renaming services is not supported"));
    }
    Ok(())
}

/// The spec as it is stored: names of networks resolved, absent defaults that clients rely on filled in, all of it
/// checked. Nothing else of what the user sent is touched.
fn admit_spec(
    state: &State,
    mut spec: ServiceSpec,
    updating: Option<&ServiceId>,
) -> Result<ServiceSpec, AdmitError> {
    for attachment in spec.task_template.networks.iter_mut().chain(&mut spec.networks) {
        resolve_network(state, attachment)?;
    }
    fill_in(&mut spec);
    check_name(&spec.name)?;
    check_task_template(&spec.task_template)?;
    spec.update_config.as_ref().map_or(Ok(()), check_update)?;
    spec.rollback_config.as_ref().map_or(Ok(()), check_update)?;
    spec.endpoint_spec.as_ref().map_or(Ok(()), check_endpoint)?;
    check_mode(&spec)?;
    check_balancing(&spec)?;
    check_publishing(&spec)?;
    if let Some(endpoint) = &spec.endpoint_spec {
        check_conflicts(state, endpoint, updating)?;
    }
    if publishes_on_the_mesh(spec.endpoint_spec.as_ref()) && state.ingress_network().is_none() {
        return Err(AdmitError::precondition(
            "service needs ingress network, but no ingress network is present",
        ));
    }
    check_data_exists(state, &spec)?;
    Ok(spec)
}

/// What Docker's daemon fills in before it stores a spec; its clients fail without.
fn fill_in(spec: &mut ServiceSpec) {
    let mode = &mut spec.mode;
    if mode.replicated.is_none()
        && mode.global.is_none()
        && mode.replicated_job.is_none()
        && mode.global_job.is_none()
    {
        mode.replicated = Some(ReplicatedService::default());
    }
    if let Some(replicated) = &mut mode.replicated {
        replicated.replicas.get_or_insert(1);
    }
    if let Some(job) = &mut mode.replicated_job {
        let at_once = *job.max_concurrent.get_or_insert(1);
        job.total_completions.get_or_insert(at_once);
    }
    if let Some(endpoint) = &mut spec.endpoint_spec {
        endpoint.mode.get_or_insert_default();
        for port in &mut endpoint.ports {
            port.protocol.get_or_insert_default();
            port.publish_mode.get_or_insert_default();
        }
    }
}

fn resolve_network(state: &State, attachment: &mut NetworkAttachment) -> Result<(), AdmitError> {
    match state.find_network(&attachment.target) {
        Ok(network) if network.spec.ingress => Err(AdmitError::invalid(format!(
            "Service cannot be explicitly attached to the ingress network {:?}",
            network.spec.name
        ))),
        Ok(network) => {
            network.id.as_str().clone_into(&mut attachment.target);
            Ok(())
        }
        Err(LookupError::NotFound { .. }) if NODE_LOCAL_NETWORKS.contains(&attachment.target.as_str()) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Secrets and configs must be there under the id and the name that the spec gives.
fn check_data_exists(state: &State, spec: &ServiceSpec) -> Result<(), AdmitError> {
    let container = spec.task_template.container();
    let secrets = container.secrets.iter().filter(|wanted| {
        state.secrets().get(wanted.secret_id.as_str()).is_none_or(|s| s.spec.name != wanted.secret_name)
    });
    let missing: Vec<_> = secrets.map(|wanted| wanted.secret_name.as_str()).collect();
    report_missing("secret", &missing)?;
    let configs = container.configs.iter().filter(|wanted| {
        state.configs().get(wanted.config_id.as_str()).is_none_or(|c| c.spec.name != wanted.config_name)
    });
    let missing: Vec<_> = configs.map(|wanted| wanted.config_name.as_str()).collect();
    report_missing("config", &missing)
}

fn report_missing(kind: &str, missing: &[&str]) -> Result<(), AdmitError> {
    let plural = match missing.len() {
        0 => return Ok(()),
        1 => "",
        _ => "s",
    };
    let desc = format!("{kind}{plural} not found: {}", missing.join(", "));
    Err(AdmitError::Refused { code: Code::InvalidArgument, desc })
}
