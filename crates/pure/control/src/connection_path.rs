//! What two ends that a person names mean: who connects, by which node, and where to.

use shoal_model::spec::Protocol;
use shoal_model::trace::{Path, Source, Target, TaskPlace};
use shoal_model::{NetworkId, Node, NodeId, Task, TaskId};
use shoal_store::State;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Finds the ends. `here` is the node that is asked: a client of a published port is taken to ask it where no other node
/// is named.
///
/// # Errors
/// Says which end is not known, or why the one cannot connect to the other.
pub fn connection_path(
    state: &State,
    here: &NodeId,
    from: &str,
    to: &str,
    protocol: Protocol,
) -> Result<Path, String> {
    let (to, port) = with_port(to)?;
    let source = source(state, from)?;
    let source_node = match &source {
        End::Task(task) => task.node.clone(),
        End::Node(node) => Some(node.id.clone()),
        End::Client(_) => None,
    };
    let own = source_node.clone().unwrap_or_else(|| here.clone());
    let (entry, target) = target(state, &source, &to, own)?;
    if target == Target::Published && port == 0 {
        return Err(format!("{to}: name the published port, {to}:PORT"));
    }
    let source = match source {
        End::Task(task) => Source::Task(task.id.clone()),
        End::Node(_) => Source::Node,
        End::Client(address) => Source::Client(address),
    };
    // Who asks another node's port is a client there.
    let source = match source {
        Source::Node if source_node.as_ref() != Some(&entry) => {
            let node = source_node.and_then(|id| state.nodes().get(&id));
            let address = node.and_then(|node| node.status.addr.parse().ok());
            Source::Client(address.ok_or_else(|| format!("{from} has no address yet"))?)
        }
        other => other,
    };
    Ok(Path { source, entry, target, protocol, port })
}

/// Every task that is on a node, for following connections.
pub fn task_places(state: &State) -> BTreeMap<TaskId, TaskPlace> {
    let place = |task: &Arc<Task>| {
        let addresses = task.attachments.iter();
        let addresses = addresses.filter_map(|a| Some((a.network.clone(), a.addresses.first()?.addr())));
        Some(TaskPlace {
            name: task.name(),
            node: task.node.clone()?,
            addresses: addresses.collect(),
            state: task.status.state.as_str().to_owned(),
        })
    };
    state.tasks().iter().filter_map(|(id, task)| Some((id.clone(), place(task)?))).collect()
}

enum End<'a> {
    Task(&'a Arc<Task>),
    Node(&'a Arc<Node>),
    Client(IpAddr),
}

fn with_port(text: &str) -> Result<(String, u16), String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.to_owned(), 0));
    }
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Ok((both.ip().to_string(), both.port()));
    }
    match text.rsplit_once(':') {
        None => Ok((text.to_owned(), 0)),
        Some((name, port)) => {
            let number = port.parse().map_err(|_| format!("{text:?}: {port:?} is no port"))?;
            Ok((name.to_owned(), number))
        }
    }
}

fn source<'a>(state: &'a State, text: &str) -> Result<End<'a>, String> {
    if let Some(task) = running_task(state, text) {
        return Ok(End::Task(task));
    }
    if let Some(node) = node(state, text) {
        return Ok(End::Node(node));
    }
    let address = text.parse().map_err(|_| format!("{text:?} is no task, no node and no address"))?;
    let of_task = state.tasks().values().find(|task| task.serves() && has_address(task, address));
    Ok(of_task.map_or(End::Client(address), End::Task))
}

/// A running task by its name, its container's name, or its id.
fn running_task<'a>(state: &'a State, text: &str) -> Option<&'a Arc<Task>> {
    let mut running = state.tasks().values().filter(|task| task.serves());
    running.find(|task| task.name() == text || task.container_name() == text || task.id.as_str() == text)
}

fn has_address(task: &Task, address: IpAddr) -> bool {
    task.attachments.iter().flat_map(|a| &a.addresses).any(|held| held.addr() == address)
}

fn node<'a>(state: &'a State, text: &str) -> Option<&'a Arc<Node>> {
    let is = |node: &&Arc<Node>| {
        node.description.hostname == text || node.id.as_str() == text || node.status.addr == text
    };
    state.nodes().values().find(is)
}

fn target(state: &State, source: &End<'_>, text: &str, own: NodeId) -> Result<(NodeId, Target), String> {
    if let Some(node) = node(state, text) {
        return Ok((node.id.clone(), Target::Published));
    }
    let address = text.parse::<IpAddr>().ok();
    let service = state.services().values().find(|service| service.spec.name == text);
    let End::Task(from) = source else {
        return match (service, address) {
            (Some(_), _) => Ok((own, Target::Published)),
            _ => Err(format!(
                "{text:?} is no node and no service: from outside only published ports are reached"
            )),
        };
    };
    let networks: Vec<&NetworkId> = from.attachments.iter().map(|a| &a.network).collect();
    for network in &networks {
        let network = *network;
        let of_service =
            |service: &Arc<shoal_model::Service>| service.vips_on(network).map(|vip| vip.addr()).next();
        let vip = match (service, address) {
            (Some(service), _) => of_service(service),
            (None, Some(address)) => {
                let mut all = state.services().values().flat_map(|service| service.vips_on(network));
                all.any(|vip| vip.addr() == address).then_some(address)
            }
            (None, None) => None,
        };
        let ingress = state.ingress_network().is_some_and(|n| n.id == *network);
        if let Some(vip) = vip.filter(|_| !ingress) {
            return Ok((own, Target::Virtual { network: network.clone(), vip }));
        }
    }
    let named = running_task(state, text);
    let task = named.or_else(|| {
        let address = address?;
        state.tasks().values().find(|task| task.serves() && has_address(task, address))
    });
    let Some(task) = task else { return Err(unknown(service.is_some(), text)) };
    let shared = task.attachments.iter().find(|a| networks.contains(&&a.network));
    match shared {
        Some(attachment) => {
            Ok((own, Target::Task { network: attachment.network.clone(), task: task.id.clone() }))
        }
        None => Err(format!("{} and {} are on no network together", from.name(), task.name())),
    }
}

fn unknown(is_service: bool, text: &str) -> String {
    if is_service {
        format!("service {text} has no virtual address on a network of the source")
    } else {
        format!("{text:?} is no service, no task, no node and no address of one")
    }
}
