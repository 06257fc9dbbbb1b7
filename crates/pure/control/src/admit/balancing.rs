//! How a service asks for its connections to be shared out.

use super::AdmitError;
use shoal_model::balancing::{Balancing, Weight};
use shoal_model::spec::ServiceSpec;

/// Checks the labels that say how the service is balanced.
pub(super) fn check_balancing(spec: &ServiceSpec) -> Result<(), AdmitError> {
    let of_containers = |_| Weight::of_containers(&spec.task_template.container().labels);
    let read = Balancing::parse(&spec.labels).and_then(of_containers);
    read.map(drop).map_err(|error| AdmitError::invalid(error.to_string()))
}
