//! A service as asked for.

use super::{EndpointSpec, Labels, Nanos, NetworkAttachment, TaskSpec, is_default};
use serde::{Deserialize, Serialize, Serializer};

/// A service: what to run, how many, how to change it, how to reach it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSpec {
    /// The name, a DNS label; unique among services.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The service's own labels (not the containers').
    pub labels: Labels,
    /// What each task runs.
    pub task_template: TaskSpec,
    /// How many tasks, and where.
    pub mode: ServiceMode,
    /// How an update is rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_config: Option<UpdateConfig>,
    /// How a rollback is rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_config: Option<UpdateConfig>,
    /// Networks in the place where old clients put them; `task_template.networks` wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkAttachment>,
    /// How the service is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_spec: Option<EndpointSpec>,
}

impl ServiceSpec {
    /// The networks that tasks attach to, wherever the client put them.
    pub fn attached_networks(&self) -> &[NetworkAttachment] {
        if self.task_template.networks.is_empty() { &self.networks } else { &self.task_template.networks }
    }

    /// Desired replicas for the replicated modes; `None` for the global ones.
    pub fn replicas(&self) -> Option<u64> {
        if self.mode.global.is_some() || self.mode.global_job.is_some() {
            return None;
        }
        if let Some(job) = &self.mode.replicated_job {
            return Some(job.total_completions.or(job.max_concurrent).unwrap_or(1));
        }
        Some(self.mode.replicated.as_ref().and_then(|r| r.replicas).unwrap_or(1))
    }

    /// True for services that run one task on every eligible node.
    pub fn is_global(&self) -> bool {
        self.mode.global.is_some() || self.mode.global_job.is_some()
    }

    /// True for services whose tasks are meant to end.
    pub fn is_job(&self) -> bool {
        self.mode.replicated_job.is_some() || self.mode.global_job.is_some()
    }
}

/// Exactly one of the four is set once the spec has been accepted; none set means one replica.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceMode {
    /// A number of interchangeable tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicated: Option<ReplicatedService>,
    /// One task a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global: Option<GlobalService>,
    /// A number of tasks run to completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicated_job: Option<ReplicatedJob>,
    /// One task a node, run to completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_job: Option<GlobalJob>,
}

/// Parameters of the replicated mode.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplicatedService {
    /// How many tasks; absent means 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
}

/// The global mode has no parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GlobalService {}

/// Parameters of the replicated-job mode.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplicatedJob {
    /// Tasks at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u64>,
    /// Completions wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_completions: Option<u64>,
}

/// The global-job mode has no parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GlobalJob {}

/// How tasks are replaced when the spec changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateConfig {
    /// Tasks replaced at once; 0 means all.
    pub parallelism: u64,
    /// Pause between batches in nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub delay: Nanos,
    /// What a failed task does to the update; absent means pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_action: Option<FailureAction>,
    /// How long a new task is watched, in nanoseconds; 0 means 5 s.
    #[serde(skip_serializing_if = "is_default")]
    pub monitor: Nanos,
    /// Tolerated share of failed tasks, 0 to 1.
    #[serde(serialize_with = "ratio_as_go")]
    pub max_failure_ratio: f64,
    /// Whether the new task starts before the old one stops.
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: 0,
            failure_action: None,
            monitor: 0,
            max_failure_ratio: 0.0,
            order: UpdateOrder::StopFirst,
        }
    }
}

/// Go prints a whole float without a fraction.
#[allow(
    clippy::float_cmp,
    clippy::trivially_copy_pass_by_ref,
    reason = "exact whole numbers; serde's signature"
)]
fn ratio_as_go<S: Serializer>(ratio: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if *ratio == 0.0 {
        serializer.serialize_u64(0)
    } else if *ratio == 1.0 {
        serializer.serialize_u64(1)
    } else {
        serializer.serialize_f64(*ratio)
    }
}

/// What a failed task does to a running update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// Stop updating and wait for the user.
    #[default]
    Pause,
    /// Go on.
    Continue,
    /// Go back to the previous spec.
    Rollback,
}

/// Which of a slot's two tasks goes first during an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// The old task stops before the new one starts.
    #[default]
    #[serde(rename = "stop-first", alias = "")]
    StopFirst,
    /// The new task runs before the old one stops.
    #[serde(rename = "start-first")]
    StartFirst,
}
