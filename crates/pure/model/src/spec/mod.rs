//! What users ask for, exactly as the Docker Engine API spells it (API 1.50), so that a spec round-trips unchanged.
//!
//! A spec is never changed by us: defaults are applied by the accessors at the point of use, not written back.
//! Field names, order and omission rules follow `moby/api/types/swarm`.

mod container;
mod endpoint;
mod service;
mod task;

pub use container::{
    ConfigReference, ContainerSpec, DnsConfig, FileTarget, HealthConfig, Mount, MountKind, SecretReference,
    Ulimit,
};
pub use endpoint::{EndpointMode, EndpointSpec, PortConfig, Protocol, PublishMode};
pub use service::{
    FailureAction, GlobalJob, GlobalService, ReplicatedJob, ReplicatedService, ServiceMode, ServiceSpec,
    UpdateConfig, UpdateOrder,
};
pub use task::{
    Driver, GenericResource, Limits, NetworkAttachment, Placement, PlacementPreference, Platform,
    Reservations, ResourceRequirements, RestartCondition, RestartPolicy, SpreadOver, TaskSpec,
};

use std::collections::BTreeMap;

/// Labels, sorted by key.
pub type Labels = BTreeMap<String, String>;

/// A duration in nanoseconds, as Go's `time.Duration` travels.
pub type Nanos = i64;

/// True for the type's default value; Go's `omitempty`.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
