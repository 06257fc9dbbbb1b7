//! Following a connection: asks the nodes that it touches, and lets pure code judge.

use crate::dispatcher::Dispatcher;
use futures::future::join_all;
use shoal_agent::names;
use shoal_agent::trace::{Known, asked, trace};
use shoal_control::{connection_path, task_places};
use shoal_model::NodeId;
use shoal_model::spec::Protocol;
use shoal_model::trace::{Holdings, Trace};
use shoal_peer::{Answer, Question};
use shoal_store::State;
use std::collections::{BTreeMap, BTreeSet};

/// Follows the connection that `from` makes to `to`. The error says which end makes no sense.
pub(crate) async fn follow(
    dispatcher: &Dispatcher,
    here: &NodeId,
    (from, to): (&str, &str),
    protocol: Protocol,
) -> Result<Trace, String> {
    let state = dispatcher.manager.log.state();
    let path = connection_path(&state, here, &by_id(&state, from), to, protocol)?;
    let tasks = task_places(&state);
    let entry = holdings(dispatcher, &path.entry).await;
    let others: BTreeSet<NodeId> = asked(&path, entry.as_ref().ok(), &tasks).into_iter().collect();
    let others = others.into_iter().filter(|node| *node != path.entry);
    let told = others.map(|node| async move { (node.clone(), holdings(dispatcher, &node).await) });
    let mut nodes: BTreeMap<NodeId, _> = join_all(told).await.into_iter().collect();
    nodes.insert(path.entry.clone(), entry);
    let hostnames =
        state.nodes().iter().map(|(id, node)| (id.clone(), node.description.hostname.clone())).collect();
    Ok(trace(&path, Known { nodes: &nodes, hostnames: &hostnames, tasks: &tasks }))
}

async fn holdings(dispatcher: &Dispatcher, node: &NodeId) -> Result<Holdings, String> {
    match dispatcher.ask(node, Question::Holdings).await? {
        Answer::Holdings(held) => Ok(*held),
        other => Err(format!("it gave an odd answer: {other:?}")),
    }
}

/// The id of the task whose container has this short id; any other text as it is.
fn by_id(state: &State, text: &str) -> String {
    let is = |id: &&shoal_model::TaskId| names::short_container_id(id) == text;
    state.tasks().keys().find(is).map_or_else(|| text.to_owned(), ToString::to_string)
}
