//! At the task, and back.

use super::overlay::{must_be_up, namespace, tunnel};
use super::{Chosen, Dropped, Known, Way};
use shoal_model::netns::{Link, LinkKind, Namespace, NamespaceName};
use shoal_model::trace::{HeldTask, Holdings, Path, Source, Target, TaskPlace};
use shoal_model::{DeviationKind, Mac};
use std::net::IpAddr;

pub(super) fn at_task(
    path: &Path,
    held: &Holdings,
    host: &str,
    (chosen, place, overlay): (&Chosen, &TaskPlace, &NamespaceName),
    way: &mut Way,
) -> Result<(), Dropped> {
    let Some(task) = held.tasks.get(&chosen.task).filter(|task| task.running) else {
        return way.drop(host, format!("task {} does not run: it is {}", place.name, place.state));
    };
    let sandbox = namespace(held, &task.sandbox, host, way)?;
    let Some((inner, link)) = holder(sandbox, chosen.address) else {
        return way.drop(host, format!("no link in {} has the address {}", task.sandbox, chosen.address));
    };
    must_be_up(inner, link, &task.sandbox, host, way)?;
    let LinkKind::Veth { peer, .. } = &link.kind else {
        return way.drop(host, format!("{inner} in {} is not the end of a pair", task.sandbox));
    };
    let network = namespace(held, overlay, host, way)?;
    let Some(port) = network.links.get(peer) else {
        return way.drop(host, format!("{overlay} has no port {peer} for the task"));
    };
    must_be_up(peer, port, overlay, host, way)?;
    if port.master.is_none() {
        return way.drop(host, format!("{peer} in {overlay} is not a port of the bridge"));
    }
    let mut arrives = format!("{peer} in {overlay} leads to {inner} of task {}", place.name);
    if path.target == Target::Published {
        let hooks = [format!("program task_in on {peer} "), format!("program task_out on {peer} ")];
        let missing = held
            .deviations
            .iter()
            .find(|d| d.kind == DeviationKind::Program && hooks.iter().any(|hook| d.what.starts_with(hook)));
        if let Some(missing) = missing {
            return way.drop(host, format!("nothing is translated: {missing}"));
        }
        arrives = format!(
            "{arrives}; port {} of the entry node becomes {}:{}",
            path.port, chosen.address, chosen.port
        );
    }
    way.hop(host, arrives);
    listens(path, task, chosen, host, way)
}

/// The link with an address, and its name.
fn holder(namespace: &Namespace, address: IpAddr) -> Option<(&str, &Link)> {
    let mut links = namespace.links.iter();
    let found = links.find(|(_, link)| {
        matches!(link.kind, LinkKind::Veth { .. }) && link.addresses.iter().any(|a| a.addr() == address)
    });
    found.map(|(name, link)| (name.as_str(), link))
}

fn listens(path: &Path, task: &HeldTask, chosen: &Chosen, host: &str, way: &mut Way) -> Result<(), Dropped> {
    if chosen.port == 0 {
        way.hop(host, "no port was named: whether somebody listens was not looked at");
        return Ok(());
    }
    let waits = task.listeners.iter().find(|listener| {
        listener.protocol == path.protocol
            && listener.port == chosen.port
            && (listener.address.is_unspecified() || listener.address == chosen.address)
    });
    let asked = format!("{}:{}/{}", chosen.address, chosen.port, path.protocol);
    if waits.is_none() {
        return way.drop(host, format!("nobody listens on {asked} in the task"));
    }
    way.hop(host, format!("a socket of the task listens on {asked}"));
    Ok(())
}

/// The answer's way to whoever asked.
pub(super) fn reply(
    path: &Path,
    known: Known<'_>,
    held: &Holdings,
    (host, place): (&str, &TaskPlace),
    overlay: &NamespaceName,
    way: &mut Way,
) -> Result<(), Dropped> {
    let to = back_to(path, known);
    if place.node != path.entry {
        let network = namespace(held, overlay, host, way)?;
        let (name, _) = tunnel(network, overlay, host, way)?;
        if let Some(mac) = to
            && !network.forwarding.iter().any(|entry| entry.mac == mac)
        {
            return way.drop(host, format!("the answer is lost: {name} has no forwarding entry for {mac}"));
        }
    }
    let entry = known.host(&path.entry);
    way.hop(
        host,
        match (&path.target, place.node == path.entry) {
            (Target::Published, false) => format!(
                "the answer goes back through {entry}, which the client asked, from its port {}",
                path.port
            ),
            (Target::Published, true) => format!("the answer leaves from port {} of this node", path.port),
            (_, false) => format!("the answer goes straight back to {entry}"),
            (_, true) => "the answer stays on this node".to_owned(),
        },
    );
    Ok(())
}

/// The Ethernet address that the answer is sent to.
fn back_to(path: &Path, known: Known<'_>) -> Option<Mac> {
    match (&path.target, &path.source) {
        (Target::Published, _) => {
            let entry = known.nodes.get(&path.entry)?.as_ref().ok()?;
            Some(entry.mesh.as_ref()?.sandbox_ingress_mac)
        }
        (Target::Virtual { network, .. } | Target::Task { network, .. }, Source::Task(task)) => {
            Some(Mac::of_endpoint(task.as_str(), network.as_str()))
        }
        _ => None,
    }
}
