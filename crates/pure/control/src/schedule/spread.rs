//! Of the nodes that are fit, the one that spreads best.

use super::node_set::{NodeLoad, NodeSet};
use rand::{Rng, RngCore};
use shoal_model::spec::TaskSpec;
use shoal_model::{Node, NodeId, Task};
use std::collections::BTreeMap;

/// Spreads over the values of the preferred labels, level by level; then over the nodes, by this service's tasks, then by
/// all tasks. Equals are told apart by chance.
pub(super) fn pick<'a>(
    nodes: &NodeSet,
    spec: &TaskSpec,
    task: &Task,
    fit: &[&'a NodeId],
    rng: &mut dyn RngCore,
) -> Option<&'a NodeId> {
    let mut left: Vec<&NodeId> = fit.to_vec();
    let preferences = spec.placement.iter().flat_map(|placement| &placement.preferences);
    let mut branch = Vec::new();
    for descriptor in preferences.filter_map(|p| p.spread.as_ref()).map(|s| s.spread_descriptor.as_str()) {
        let Some(value) = emptiest_value(nodes, task, &left, descriptor, &branch) else { break };
        left.retain(|id| nodes.get(id).is_some_and(|load| value_of(&load.node, descriptor) == value));
        branch.push((descriptor, value));
    }
    let rank = |id: &NodeId| {
        let load = nodes.get(id)?;
        Some((load.keeps_failing(&task.service), load.tasks_of(&task.service), load.tasks))
    };
    let best = left.iter().filter_map(|id| rank(id)).min()?;
    let equals: Vec<&'a NodeId> =
        fit.iter().copied().filter(|id| left.contains(id) && rank(id) == Some(best)).collect();
    let chosen = rng.random_range(0..equals.len().max(1));
    equals.get(chosen).copied()
}

/// The value of a label that holds the fewest of the service's tasks, counting all nodes of the branch, among those that
/// a fit node has.
fn emptiest_value(
    nodes: &NodeSet,
    task: &Task,
    fit: &[&NodeId],
    descriptor: &str,
    branch: &[(&str, String)],
) -> Option<String> {
    let in_branch =
        |load: &NodeLoad| branch.iter().all(|(label, value)| value_of(&load.node, label) == *value);
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    for load in nodes.loads().filter(|load| in_branch(load)) {
        *held.entry(value_of(&load.node, descriptor)).or_default() += load.tasks_of(&task.service);
    }
    let fit = fit.iter().filter_map(|id| nodes.get(id)).map(|load| value_of(&load.node, descriptor));
    fit.min_by_key(|value| (held.get(value).copied().unwrap_or(0), value.clone()))
}

/// The value of a label; nodes without it share the empty one.
fn value_of(node: &Node, descriptor: &str) -> String {
    let label = |prefix: &str| descriptor.strip_prefix(prefix);
    let value = match (label("node.labels."), label("engine.labels.")) {
        (Some(key), _) => node.spec.labels.get(key),
        (None, Some(key)) => node.description.engine.labels.get(key),
        (None, None) => None,
    };
    value.cloned().unwrap_or_default()
}
