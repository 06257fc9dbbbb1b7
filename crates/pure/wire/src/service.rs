//! Services.

use crate::omit::is_default;
use serde::{Deserialize, Serialize};
use shoal_model::service::UpdateState;
use shoal_model::spec::{
    ContainerSpec, DnsConfig, EndpointMode, EndpointSpec, FailureAction, PortConfig, Protocol, PublishMode,
    ReplicatedService, RestartCondition, RestartPolicy, ServiceMode, ServiceSpec, UpdateConfig,
};
use shoal_model::task::TaskState;
use shoal_model::{Task, Timestamp, Version};

/// A service as Docker shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// Identity.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What was asked.
    pub spec: ServiceSpec,
    /// What was asked before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_spec: Option<ServiceSpec>,
    /// What is allocated for it.
    pub endpoint: Endpoint,
    /// How the last update goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_status: Option<UpdateStatus>,
    /// Counts of tasks, in lists that ask for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_status: Option<ServiceStatus>,
    /// The job's iteration, for jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_status: Option<JobStatus>,
}

/// What is allocated for a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// The endpoint as asked for.
    pub spec: EndpointSpec,
    /// Published ports with their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
    /// One virtual address a network.
    #[serde(rename = "VirtualIPs", skip_serializing_if = "Vec::is_empty")]
    pub virtual_ips: Vec<VirtualIp>,
}

/// A service's address on one network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VirtualIp {
    /// The network.
    #[serde(rename = "NetworkID", skip_serializing_if = "String::is_empty")]
    pub network_id: String,
    /// With prefix length, `10.0.1.2/24`.
    #[serde(rename = "Addr", skip_serializing_if = "String::is_empty")]
    pub addr: String,
}

/// How an update goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateStatus {
    /// Where it stands.
    pub state: UpdateState,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// A word on it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Counts of a service's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceStatus {
    /// Tasks that run.
    pub running_tasks: u64,
    /// Tasks that should.
    pub desired_tasks: u64,
    /// Tasks of a job that are done.
    pub completed_tasks: u64,
}

/// A job's iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobStatus {
    /// Raised with each run.
    pub job_iteration: Version,
    /// When it was last started.
    #[serde(skip_serializing_if = "is_default")]
    pub last_execution: Timestamp,
}

impl Service {
    /// A stored service as Docker shows it; with `defaults` what the user left open is filled in.
    pub fn new(service: &shoal_model::Service, defaults: bool) -> Self {
        let time = |t: Timestamp| (!t.is_never()).then_some(t);
        let mut spec = service.spec.clone();
        canonical(&mut spec);
        if defaults {
            insert_defaults(&mut spec);
        }
        let previous_spec = service.previous_spec.clone().map(|mut previous| {
            canonical(&mut previous);
            previous
        });
        Self {
            id: service.id.to_string(),
            version: service.meta.version,
            created_at: service.meta.created_at,
            updated_at: service.meta.updated_at,
            endpoint: endpoint(service, &spec),
            spec,
            previous_spec,
            update_status: service.update_status.as_ref().map(|status| UpdateStatus {
                state: status.state,
                started_at: time(status.started_at),
                completed_at: time(status.completed_at),
                message: status.message.clone(),
            }),
            service_status: None,
            job_status: service
                .job_iteration
                .map(|job_iteration| JobStatus { job_iteration, last_execution: service.job_last_execution }),
        }
    }
}

fn endpoint(service: &shoal_model::Service, spec: &ServiceSpec) -> Endpoint {
    let allocated = &service.endpoint;
    let empty = allocated.virtual_ips.is_empty() && allocated.ports.is_empty();
    let none = allocated.mode.is_none() || (empty && allocated.mode == Some(EndpointMode::Dnsrr));
    let asked = spec.endpoint_spec.clone().filter(|_| !none).unwrap_or_default();
    let mut ports = allocated.ports.clone();
    ports.iter_mut().for_each(canonical_port);
    let virtual_ips = allocated
        .virtual_ips
        .iter()
        .map(|vip| VirtualIp { network_id: vip.network.to_string(), addr: vip.address.to_string() });
    Endpoint { spec: asked, ports, virtual_ips: virtual_ips.collect() }
}

/// Writes the spec the way Docker's daemon gives it back: a mode is always named, protocols and policies are spelt out.
/// Applied to what clients send, too, so that a spec that comes back from a client equals the stored one, and an update
/// that changes nothing replaces no task. Applying it twice changes nothing more.
pub fn canonical(spec: &mut ServiceSpec) {
    canonical_mode(&mut spec.mode);
    for config in [&mut spec.update_config, &mut spec.rollback_config].into_iter().flatten() {
        config.failure_action.get_or_insert(FailureAction::Pause);
    }
    if let Some(endpoint) = &mut spec.endpoint_spec {
        endpoint.mode.get_or_insert(EndpointMode::Vip);
        endpoint.ports.iter_mut().for_each(canonical_port);
    }
    let template = &mut spec.task_template;
    if template.runtime.is_empty() {
        "container".clone_into(&mut template.runtime);
    }
    if let Some(policy) = &mut template.restart_policy {
        policy.condition.get_or_insert(RestartCondition::Any);
        policy.max_attempts.get_or_insert(0);
    }
    if let Some(container) = &mut template.container_spec
        && container.isolation.is_empty()
    {
        "default".clone_into(&mut container.isolation);
    }
}

fn canonical_mode(mode: &mut ServiceMode) {
    if let Some(job) = &mut mode.replicated_job {
        let at_once = *job.max_concurrent.get_or_insert(1);
        job.total_completions.get_or_insert(at_once);
    } else if mode.global.is_none() && mode.global_job.is_none() {
        mode.replicated.get_or_insert(ReplicatedService::default()).replicas.get_or_insert(1);
    }
}

fn canonical_port(port: &mut PortConfig) {
    port.protocol.get_or_insert(Protocol::Tcp);
    port.publish_mode.get_or_insert(PublishMode::Ingress);
}

/// What the user left open, filled in (`insertDefaults=true`); the values are swarmkit's.
pub fn insert_defaults(spec: &mut ServiceSpec) {
    const TEN_SECONDS: i64 = 10_000_000_000;
    const FIVE_SECONDS: i64 = 5_000_000_000;
    let container = spec.task_template.container_spec.get_or_insert_with(ContainerSpec::default);
    container.stop_grace_period.get_or_insert(TEN_SECONDS);
    container.dns_config.get_or_insert_with(DnsConfig::default);
    let policy = spec.task_template.restart_policy.get_or_insert_with(RestartPolicy::default);
    policy.condition.get_or_insert(RestartCondition::Any);
    policy.delay.get_or_insert(FIVE_SECONDS);
    policy.max_attempts.get_or_insert(0);
    if !spec.is_job() {
        for config in [&mut spec.update_config, &mut spec.rollback_config] {
            let config = config.get_or_insert_with(UpdateConfig::default);
            config.failure_action.get_or_insert(FailureAction::Pause);
            if config.monitor == 0 {
                config.monitor = FIVE_SECONDS;
            }
        }
    }
    spec.endpoint_spec.get_or_insert_with(EndpointSpec::default).mode.get_or_insert(EndpointMode::Vip);
}

/// Counts a service's tasks as swarmkit does.
pub fn count_tasks<'a>(
    service: &shoal_model::Service,
    tasks: impl Iterator<Item = &'a Task>,
) -> ServiceStatus {
    let spec = &service.spec;
    let mut status = ServiceStatus {
        desired_tasks: match &spec.mode.replicated_job {
            Some(job) => job.max_concurrent.unwrap_or(1),
            None => spec.replicas().unwrap_or(0),
        },
        ..ServiceStatus::default()
    };
    for task in tasks {
        if let Some(iteration) = service.job_iteration {
            if task.job_iteration != Some(iteration.index) {
                continue;
            }
            status.completed_tasks += u64::from(task.status.state == TaskState::Complete);
        }
        status.running_tasks += u64::from(task.status.state == TaskState::Running);
        let wanted = match task.desired {
            TaskState::Running => !spec.is_job() || task.status.state != TaskState::Complete,
            TaskState::Complete => task.status.state != TaskState::Complete,
            _ => false,
        };
        status.desired_tasks += u64::from(spec.is_global() && wanted);
    }
    status
}

/// Answer of `POST /services/create`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateResponse {
    /// The new service.
    #[serde(rename = "ID")]
    pub id: String,
    /// What the user should know; `null` for nothing.
    #[serde(with = "warnings")]
    pub warnings: Vec<String>,
}

/// Answer of `POST /services/{id}/update`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateResponse {
    /// What the user should know; `null` for nothing.
    #[serde(with = "warnings")]
    pub warnings: Vec<String>,
}

/// Go's nil slice: nothing is `null`.
mod warnings {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        (!list.is_empty()).then_some(list).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}
