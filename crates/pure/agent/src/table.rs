//! What the balancer holds.
use crate::LocalFacts;
use shoal_model::lvs::Table;
use shoal_model::netns::Namespaces;
use shoal_model::{Assignment, Observed};

/// What the node's virtual server holds.
pub fn table(
    _assignment: &Assignment,
    _observed: &Observed,
    _declared: &Namespaces,
    _facts: &LocalFacts,
) -> Table {
    Table::default()
}
