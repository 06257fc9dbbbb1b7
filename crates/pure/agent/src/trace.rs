//! Follows a connection through what the cluster declared and what the nodes were seen to hold, up to where it ends.

mod arrival;
mod choice;
mod overlay;

use shoal_model::trace::{Branch, Holdings, Hop, Path, Source, Target, TaskPlace, Trace};
use shoal_model::{Mac, NodeId, TaskId};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Everything that is known.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What each node told of itself, or why it did not.
    pub nodes: &'a BTreeMap<NodeId, Result<Holdings, String>>,
    /// Host names of the nodes.
    pub hostnames: &'a BTreeMap<NodeId, String>,
    /// The tasks.
    pub tasks: &'a BTreeMap<TaskId, TaskPlace>,
}

/// The task that a connection is given to.
struct Chosen {
    task: TaskId,
    address: IpAddr,
    mac: Mac,
    /// The port there; 0 where none was named.
    port: u16,
}

/// Hops of one way; nothing follows the one that drops.
struct Way(Vec<Hop>);

/// The connection ends here.
struct Dropped;

impl Way {
    fn hop(&mut self, host: &str, what: impl Into<String>) {
        self.0.push(Hop { host: host.to_owned(), what: what.into(), dropped: false });
    }

    fn drop<T>(&mut self, host: &str, what: impl Into<String>) -> Result<T, Dropped> {
        self.0.push(Hop { host: host.to_owned(), what: what.into(), dropped: true });
        Err(Dropped)
    }
}

impl<'a> Known<'a> {
    fn host(&self, node: &NodeId) -> &'a str {
        self.hostnames.get(node).map_or("unknown node", String::as_str)
    }

    fn holdings(&self, node: &NodeId, way: &mut Way) -> Result<&'a Holdings, Dropped> {
        match self.nodes.get(node) {
            Some(Ok(holdings)) => Ok(holdings),
            Some(Err(reason)) => way.drop(self.host(node), format!("the node is not heard of: {reason}")),
            None => way.drop(self.host(node), "the node was not asked"),
        }
    }

    fn name(&self, task: &TaskId) -> String {
        self.tasks.get(task).map_or_else(|| task.to_string(), |place| place.name.clone())
    }
}

/// The nodes whose holdings are needed: the entry's, and those of every task that the connection may be given to.
pub fn asked(path: &Path, entry: Option<&Holdings>, tasks: &BTreeMap<TaskId, TaskPlace>) -> Vec<NodeId> {
    let given: Vec<&TaskId> = match &path.target {
        Target::Task { task, .. } => vec![task],
        _ => entry.and_then(|held| choice::service(path, held)).map(choice::takers).unwrap_or_default(),
    };
    given.into_iter().filter_map(|task| tasks.get(task)).map(|place| place.node.clone()).collect()
}

/// Follows the connection.
pub fn trace(path: &Path, known: Known<'_>) -> Trace {
    let mut way = Way(Vec::new());
    let chosen = begin(path, known, &mut way);
    let branches = chosen.unwrap_or_default().into_iter().map(|chosen| branch(path, known, &chosen));
    Trace { branches: branches.collect(), hops: way.0 }
}

/// The way up to the choice; answers who may be chosen.
fn begin(path: &Path, known: Known<'_>, way: &mut Way) -> Result<Vec<Chosen>, Dropped> {
    let host = known.host(&path.entry);
    let held = known.holdings(&path.entry, way)?;
    match &path.source {
        Source::Task(task) => {
            let name = known.name(task);
            if !held.tasks.get(task).is_some_and(|held| held.running) {
                return way.drop(host, format!("task {name} does not run"));
            }
            way.hop(host, format!("task {name} connects"));
        }
        Source::Node => way.hop(host, "a process of the node connects"),
        Source::Client(address) => way.hop(host, format!("client {address} arrives")),
    }
    match &path.target {
        Target::Virtual { vip, .. } => choice::east_west(path, *vip, known, held, way),
        Target::Published => choice::published(path, known, held, way),
        Target::Task { network, task } => {
            let place = known.tasks.get(task);
            let Some(address) = place.and_then(|place| place.addresses.get(network)).copied() else {
                return way.drop(host, format!("task {} has no address there", known.name(task)));
            };
            way.hop(host, format!("{address} is task {} itself: nothing is balanced", known.name(task)));
            let mac = Mac::of_endpoint(task.as_str(), network.as_str());
            Ok(vec![Chosen { task: task.clone(), address, mac, port: path.port }])
        }
    }
}

fn branch(path: &Path, known: Known<'_>, chosen: &Chosen) -> Branch {
    let mut way = Way(Vec::new());
    // Where it ends is the last hop.
    let _ended = go_on(path, known, chosen, &mut way);
    Branch { task: known.name(&chosen.task), mac: chosen.mac, hops: way.0 }
}

fn go_on(path: &Path, known: Known<'_>, chosen: &Chosen, way: &mut Way) -> Result<(), Dropped> {
    let Some(place) = known.tasks.get(&chosen.task) else {
        return way.drop(known.host(&path.entry), "the cluster does not know this task any more");
    };
    let entry = known.holdings(&path.entry, way)?;
    let overlay = overlay::of(path, entry, known.host(&path.entry), way)?;
    if place.node != path.entry {
        overlay::carry(&overlay, (entry, known.host(&path.entry)), chosen, path, way)?;
    }
    let there = known.holdings(&place.node, way)?;
    let host = known.host(&place.node);
    arrival::at_task(path, there, host, (chosen, place, &overlay), way)?;
    arrival::reply(path, known, there, (host, place), &overlay, way)
}
