//! What a script can look at. Ids are left out: they tell a reader nothing.

use super::words::Words;
use super::{Answer, node_named};
use crate::world::World;
use anyhow::bail;
use shoal_control::service_status;
use shoal_model::service::Service;
use shoal_model::spec::PublishMode;
use shoal_model::{Task, TaskState};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) fn show(world: &World, words: &mut Words<'_>) -> Answer {
    Ok(match words.next("what")? {
        "tasks" => {
            let all = words.flag("all");
            tasks(world, words.optional(), all)
        }
        "services" => services(world),
        "nodes" => nodes(world),
        "networks" => networks(world),
        "addresses" => addresses(world),
        "balance" => {
            let node = node_named(world, words.next("a node")?)?;
            balance(world, &node)
        }
        "containers" => containers(world),
        other => bail!("{other} cannot be shown"),
    })
}

/// Lines with their columns under one another.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(String::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// `web.1`, or `web.n1` for global services.
pub(super) fn task_name(world: &World, task: &Task) -> String {
    let service = world.state().services().get(&task.service);
    match (&task.node, service.is_some_and(|service| service.spec.is_global())) {
        (Some(node), true) => format!("{}.{}", task.service_name, world.name_of(node)),
        _ => format!("{}.{}", task.service_name, task.slot),
    }
}

fn tasks(world: &World, service: Option<&str>, all: bool) -> String {
    let wanted = |task: &&Arc<Task>| {
        service.is_none_or(|name| task.service_name == name)
            && (all || task.desired <= TaskState::Running || !task.status.state.is_terminal())
    };
    let mut tasks: Vec<_> = world.state().tasks().values().filter(wanted).collect();
    tasks.sort_by_key(|task| {
        let newest_first = std::cmp::Reverse(task.meta.created_at);
        (task.service_name.clone(), task.slot, task_name(world, task), newest_first, task.id.clone())
    });
    let mut last = String::new();
    let rows = tasks.into_iter().map(|task| {
        let name = task_name(world, task);
        let shown = if name == last { format!(" \\_ {name}") } else { name.clone() };
        last = name;
        let image = task.spec.container().image.clone();
        let node = task.node.as_ref().map_or("-", |node| world.name_of(node)).to_owned();
        let (desired, state) = (task.desired.as_str().to_owned(), task.status.state.as_str().to_owned());
        vec![shown, image, node, desired, state, task.status.err.clone()]
    });
    table(&rows.collect::<Vec<_>>())
}

fn by_name(world: &World) -> Vec<&Arc<Service>> {
    let mut services: Vec<_> = world.state().services().values().collect();
    services.sort_by_key(|service| &service.spec.name);
    services
}

fn services(world: &World) -> String {
    let rows = by_name(world).into_iter().map(|service| {
        let status = service_status(world.state(), service);
        let mut count = format!("{}/{}", status.running, status.desired);
        if service.spec.is_job() {
            let total = service.spec.replicas().map_or(String::new(), |total| format!("/{total}"));
            let _ = write!(count, " ({}{total} completed)", status.completed);
        }
        let ports = service.endpoint.ports.iter().filter(|port| port.published_port != 0).map(|port| {
            let host = if port.mode() == PublishMode::Host { " (host)" } else { "" };
            format!("*:{}->{}/{}{host}", port.published_port, port.target_port, port.transport())
        });
        let update = service.update_status.as_ref().map_or(String::new(), |status| status.message.clone());
        // Ids in Docker's words are cut off.
        let update = update.split(" of task ").next().unwrap_or_default().to_owned();
        vec![service.spec.name.clone(), count, ports.collect::<Vec<_>>().join(","), update]
    });
    table(&rows.collect::<Vec<_>>())
}

fn nodes(world: &World) -> String {
    let mut nodes: Vec<_> = world.state().nodes().values().collect();
    nodes.sort_by_key(|node| &node.description.hostname);
    let leader = world.managers.leader().map(|manager| &manager.id);
    let rows = nodes.into_iter().map(|node| {
        vec![
            node.description.hostname.clone(),
            node.status.state.as_str().to_owned(),
            format!("{:?}", node.spec.availability).to_lowercase(),
            node.spec.role.as_str().to_owned(),
            if Some(&node.id) == leader { "leader".to_owned() } else { String::new() },
            node.status.message.clone(),
        ]
    });
    table(&rows.collect::<Vec<_>>())
}

fn networks(world: &World) -> String {
    let mut networks: Vec<_> = world.state().networks().values().collect();
    networks.sort_by_key(|network| network.vni);
    let rows = networks.into_iter().map(|network| {
        let subnets = network.subnets.iter().map(|s| format!("{} via {}", s.subnet, s.gateway));
        vec![network.spec.name.clone(), network.vni.to_string(), subnets.collect::<Vec<_>>().join(", ")]
    });
    table(&rows.collect::<Vec<_>>())
}

fn addresses(world: &World) -> String {
    let state = world.state();
    let name = |key: &shoal_store::ObjectKey| match key {
        shoal_store::ObjectKey::Task(id) => {
            state.tasks().get(id).map_or_else(String::new, |t| format!("task {}", task_name(world, t)))
        }
        shoal_store::ObjectKey::Service(id) => {
            state.services().get(id).map_or_else(String::new, |s| format!("service {}", s.spec.name))
        }
        shoal_store::ObjectKey::Node(id) => format!("node {}", world.name_of(id)),
        shoal_store::ObjectKey::Network(_) => "gateway".to_owned(),
        other => other.to_string(),
    };
    let mut networks: Vec<_> = state.networks().values().collect();
    networks.sort_by_key(|network| network.vni);
    let rows = networks.into_iter().flat_map(|network| {
        state
            .addresses_held(&network.id)
            .map(|(address, by)| vec![network.spec.name.clone(), address.to_string(), name(by)])
            .collect::<Vec<_>>()
    });
    table(&rows.collect::<Vec<_>>())
}

/// What the node was told of who serves what.
fn balance(world: &World, node: &shoal_model::NodeId) -> String {
    let Some(held) = world.hosts.get(node).and_then(|host| host.held.as_ref()) else {
        return "nothing was told".to_owned();
    };
    let mut rows = Vec::new();
    for network in held.networks.values() {
        for service in network.services.values() {
            let vip = if service.vips.is_empty() { "no vip".to_owned() } else { in_a_row(&service.vips) };
            let ports = service.ports.iter().map(|p| format!(" *:{}->{}", p.published_port, p.target_port));
            let head = format!("{} on {}", service.name, network.network.spec.name);
            rows.push(vec![head, format!("{vip}{}", ports.collect::<String>()), String::new()]);
            let mut tasks: Vec<_> = service.tasks.values().collect();
            tasks.sort_by_key(|task| (task.name.clone(), task.addresses.clone()));
            for task in tasks {
                let on = world.name_of(&task.node);
                rows.push(vec![
                    format!("  -> {on}"),
                    in_a_row(&task.addresses),
                    format!("weight {}", task.weight),
                ]);
            }
        }
    }
    table(&rows)
}

fn in_a_row(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn containers(world: &World) -> String {
    let mut rows = Vec::new();
    let mut hosts: Vec<_> = world.hosts.values().collect();
    hosts.sort_by_key(|host| &host.name);
    for host in hosts {
        if !host.up {
            rows.push(vec![host.name.clone(), "no power".to_owned()]);
        }
        let mut containers: Vec<_> = host
            .containers
            .values()
            .filter(|container| !container.status.state.is_terminal())
            .map(|container| {
                let name = container.name();
                vec![host.name.clone(), name, container.status.state.as_str().to_owned()]
            })
            .collect();
        containers.sort();
        rows.extend(containers);
    }
    table(&rows)
}
