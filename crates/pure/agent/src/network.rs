//! Every namespace of the node as it should be.
use crate::LocalFacts;
use shoal_model::netns::Namespaces;
use shoal_model::{Assignment, Observed, Timestamp};

/// Every namespace of the node as it should be. What exists (`namespaces`) is read for one thing only: a sandbox keeps
/// the address that it has on its bridge to the outside; a new one takes the lowest free.
pub fn declare(
    _assignment: &Assignment,
    _observed: &Observed,
    _namespaces: &Namespaces,
    _facts: &LocalFacts,
    _now: Timestamp,
) -> Namespaces {
    Namespaces::new()
}
