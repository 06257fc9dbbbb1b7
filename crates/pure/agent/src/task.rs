//! The life of a task on its node.
use shoal_model::assignment::TaskOp;
use shoal_model::netns::Namespaces;
use shoal_model::{Assignment, Observed, TaskReport, Timestamp};

/// The next steps of the node's containers.
pub fn plan(
    _assignment: &Assignment,
    _observed: &Observed,
    _declared: &Namespaces,
    _namespaces: &Namespaces,
    _now: Timestamp,
) -> Vec<TaskOp> {
    Vec::new()
}

/// What the managers do not know yet of the node's tasks.
pub fn reports(
    _assignment: &Assignment,
    _observed: &Observed,
    _declared: &Namespaces,
    _namespaces: &Namespaces,
    _now: Timestamp,
) -> Vec<TaskReport> {
    Vec::new()
}
