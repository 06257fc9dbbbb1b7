//! Which real servers a connection may be given to, and why.

use super::{Chosen, Dropped, Known, Way};
use shoal_model::lvs::{Scheduler, VirtualService, VirtualServiceKey};
use shoal_model::trace::{Holdings, Path, Source, Target};
use shoal_model::{DeviationKind, TaskId};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The virtual service that is asked for.
pub(super) fn service<'a>(path: &Path, held: &'a Holdings) -> Option<&'a VirtualService> {
    let wanted = match &path.target {
        Target::Virtual { network, vip } => {
            VirtualServiceKey::EastWest { network: network.clone(), vip: *vip }
        }
        Target::Published => VirtualServiceKey::Ingress { protocol: path.protocol, port: path.port },
        Target::Task { .. } => return None,
    };
    held.services.iter().find(|(key, _)| *key == wanted).map(|(_, service)| service)
}

/// The tasks that take new connections, in the order of the ring.
pub(super) fn takers(service: &VirtualService) -> Vec<&TaskId> {
    let mut seen = BTreeSet::new();
    let ring = service.ring.iter().filter_map(|index| service.real_servers.get(usize::from(*index)));
    ring.map(|server| &server.task).filter(|task| seen.insert(*task)).collect()
}

pub(super) fn east_west(
    path: &Path,
    vip: IpAddr,
    known: Known<'_>,
    held: &Holdings,
    way: &mut Way,
) -> Result<Vec<Chosen>, Dropped> {
    let host = &held.hostname;
    let Some(service) = service(path, held) else {
        return way.drop(host, format!("no service has the virtual address {vip} on this node"));
    };
    let broken = held.deviations.iter().find(|d| match d.kind {
        DeviationKind::Program => d.what.starts_with("socket program"),
        DeviationKind::Sandbox => match &path.source {
            Source::Task(task) => d.what.contains(&super::super::names::short_container_id(task)),
            _ => false,
        },
        _ => false,
    });
    if let Some(broken) = broken {
        return way.drop(host, format!("{vip} is not balanced: {broken}"));
    }
    way.hop(host, format!("{vip} is the virtual address of service {}, balanced at connect", service.name));
    choose(path, service, known, held, way)
}

pub(super) fn published(
    path: &Path,
    known: Known<'_>,
    held: &Holdings,
    way: &mut Way,
) -> Result<Vec<Chosen>, Dropped> {
    let (host, asked) = (&held.hostname, format!("{}/{}", path.port, path.protocol));
    let Some(service) = service(path, held) else {
        return way.drop(host, format!("no service publishes port {asked}"));
    };
    let Some(mesh) = &held.mesh else {
        return way.drop(host, "the node has no ingress endpoint yet");
    };
    let client = match &path.source {
        Source::Client(address) => *address,
        Source::Node | Source::Task(_) => mesh.own_address,
    };
    let allow = &service.access.allow;
    if !allow.is_empty() && !allow.iter().any(|network| network.contains(&client)) {
        return way.drop(host, format!("{client} is not in the allow-list of port {asked}"));
    }
    let hooks = if matches!(path.source, Source::Client(_)) { "program entry_" } else { "socket program" };
    let missing = |d: &&shoal_model::Deviation| {
        d.kind == DeviationKind::Program && d.what.starts_with(hooks) || d.kind == DeviationKind::Mesh
    };
    if let Some(broken) = held.deviations.iter().find(missing) {
        return way.drop(host, format!("port {asked} is not balanced: {broken}"));
    }
    way.hop(host, format!("port {asked} is published by service {}", service.name));
    choose(path, service, known, held, way)
}

fn choose(
    path: &Path,
    service: &VirtualService,
    known: Known<'_>,
    held: &Holdings,
    way: &mut Way,
) -> Result<Vec<Chosen>, Dropped> {
    let host = &held.hostname;
    let takers = takers(service);
    if takers.is_empty() {
        let count = service.real_servers.len();
        return way.drop(host, format!("no real server takes connections: 0 of {count} in the ring"));
    }
    let names: Vec<String> = takers.iter().map(|task| known.name(task)).collect();
    let how = match service.scheduler {
        scheduler if scheduler.is_hashed() => "looked up by the client's address",
        Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => "walked one after the other",
        _ => "made of the connections of the whole cluster",
    };
    let scheduler = service.scheduler.as_str();
    let slots = service.ring.len();
    way.hop(host, format!("scheduler {scheduler}: a ring of {slots}, {how}: {}", names.join(", ")));
    if let Some(seconds) = service.affinity {
        way.hop(host, format!("affinity: a client keeps its real server for {seconds} s"));
    }
    existing(path, service, known, held, way);
    let chosen = |task: &TaskId| {
        let server = service.real_servers.iter().find(|server| server.task == *task)?;
        let port = if server.port == 0 { path.port } else { server.port };
        Some(Chosen { task: task.clone(), address: server.address, mac: server.mac, port })
    };
    Ok(takers.into_iter().filter_map(chosen).collect())
}

/// Connections of the same client that are known already stay where they are.
fn existing(path: &Path, service: &VirtualService, known: Known<'_>, held: &Holdings, way: &mut Way) {
    let Source::Client(client) = &path.source else { return };
    for server in &service.real_servers {
        let of_client = held.connections.iter().filter(|c| {
            c.task == server.task
                && c.client.ip() == *client
                && c.asked.port() == path.port
                && c.protocol == path.protocol
        });
        let count = of_client.count();
        if count > 0 {
            let name = known.name(&server.task);
            way.hop(&held.hostname, format!("existing flows of {client}: {count} stay with {name}"));
        }
    }
}
