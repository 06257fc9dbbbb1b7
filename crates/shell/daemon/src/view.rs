//! What the node loop last saw, for everyone who wants to show it.

use shoal_agent::LocalFacts;
use shoal_model::assignment::{Assignment, Observed};
use shoal_model::lvs::Table;
use shoal_model::netns::Namespaces;
use std::sync::Arc;

/// What the node loop last saw and wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// What the managers want of this node.
    pub(crate) assignment: Arc<Assignment>,
    /// Containers and images.
    pub(crate) observed: Observed,
    /// Namespaces as declared.
    pub(crate) declared: Namespaces,
    /// Namespaces as seen.
    pub(crate) namespaces: Namespaces,
    /// The balancer's table.
    pub(crate) table: Table,
    /// What the node knows of itself; absent before it was in a swarm.
    pub(crate) facts: Option<LocalFacts>,
}
