//! Networks, secrets and nodes in scripts.

use super::words::Words;
use super::{Answer, node_named};
use crate::managers::Source;
use crate::world::World;
use anyhow::{Context, Result, bail};
use shoal_control::admit;
use shoal_model::Node;
use shoal_model::network::{NetworkSpec, SubnetSpec};
use shoal_model::node::{Availability, NodeResources, NodeRole};
use shoal_model::object::DataSpec;
use shoal_store::{Change, Object, ObjectKey};

/// Proposes a change and tells what became of it.
pub(super) fn write(world: &mut World, change: Change) -> String {
    match world.request(vec![change]) {
        None => "no answer: the swarm does not have a leader".to_owned(),
        Some(Ok(())) => String::new(),
        Some(Err(rejected)) => admit::AdmitError::from(rejected).to_string(),
    }
}

pub(super) fn remove(world: &mut World, key: impl Into<ObjectKey>) -> String {
    write(world, Change::Remove { key: key.into(), if_version: None })
}

pub(super) fn network(world: &mut World, words: &mut Words<'_>) -> Answer {
    let verb = words.next("create or rm")?;
    let name = words.next("a name")?;
    match verb {
        "create" => {
            let subnet = words.take("subnet").map(str::parse).transpose()?;
            let subnets = subnet.map(|subnet| SubnetSpec { subnet, gateway: None, range: None });
            let spec = NetworkSpec {
                name: name.to_owned(),
                enable_ipv6: words.flag("ipv6"),
                subnets: subnets.into_iter().collect(),
                ..NetworkSpec::default()
            };
            let (state, now) = (world.state().clone(), world.now);
            match admit::create_network(&state, spec, "overlay", now, &mut world.rng) {
                Ok(network) => Ok(write(world, Change::Create(Object::from(network)))),
                Err(refused) => Ok(refused.to_string()),
            }
        }
        "rm" => {
            let found = world.state().find_network(name).map(|network| network.id.clone());
            match found.map_err(admit::AdmitError::from) {
                Ok(id) => match admit::remove_network(world.state(), &id) {
                    Ok(()) => Ok(remove(world, id)),
                    Err(refused) => Ok(refused.to_string()),
                },
                Err(refused) => Ok(refused.to_string()),
            }
        }
        _ => bail!("networks are created and removed"),
    }
}

pub(super) fn secret(world: &mut World, words: &mut Words<'_>) -> Answer {
    let verb = words.next("create or rm")?;
    let name = words.next("a name")?;
    match verb {
        "create" => {
            let spec = DataSpec { name: name.to_owned(), data: vec![42], ..DataSpec::default() };
            let (state, now) = (world.state().clone(), world.now);
            match admit::create_secret(&state, spec, now, &mut world.rng) {
                Ok(secret) => Ok(write(world, Change::Create(Object::from(secret)))),
                Err(refused) => Ok(refused.to_string()),
            }
        }
        "rm" => {
            let id = world.state().find_secret(name)?.id.clone();
            match admit::remove_secret(world.state(), &id) {
                Ok(()) => Ok(remove(world, id)),
                Err(refused) => Ok(refused.to_string()),
            }
        }
        _ => bail!("secrets are created and removed"),
    }
}

pub(super) fn node(world: &mut World, words: &mut Words<'_>) -> Answer {
    let verb = words.next("update, resources or rm")?;
    let id = node_named(world, words.next("a node")?)?;
    match verb {
        "update" => {
            let stored = world.state().nodes().get(&id).context("the node has been removed")?;
            let mut spec = stored.spec.clone();
            let version = stored.meta.version;
            if let Some(to) = words.take("availability") {
                spec.availability = availability(to)?;
            }
            if let Some(to) = words.take("role") {
                spec.role = if to == "manager" { NodeRole::Manager } else { NodeRole::Worker };
            }
            for (key, value) in words.take_all("label.") {
                spec.labels.insert(key.to_owned(), value.to_owned());
            }
            match admit::update_node(world.state(), &id, version, spec) {
                Ok(node) => Ok(write(world, Change::Update(Object::from(node)))),
                Err(refused) => Ok(refused.to_string()),
            }
        }
        "resources" => {
            let stored = world.state().nodes().get(&id).context("the node has been removed")?;
            let change = describe(stored, words)?;
            world.propose(Source::User, vec![change]);
            Ok(String::new())
        }
        "rm" => match admit::remove_node(world.state(), &id, words.flag("force")) {
            Ok(()) => Ok(remove(world, id)),
            Err(refused) => Ok(refused.to_string()),
        },
        _ => bail!("nodes are updated and removed"),
    }
}

fn availability(text: &str) -> Result<Availability> {
    Ok(match text {
        "active" => Availability::Active,
        "pause" => Availability::Pause,
        "drain" => Availability::Drain,
        _ => bail!("{text} is no availability"),
    })
}

/// What the node would tell of itself, with other resources or routes.
fn describe(node: &Node, words: &mut Words<'_>) -> Result<Change> {
    let mut description = node.description.clone();
    let cpus: Option<i64> = words.take("cpus").map(str::parse).transpose()?;
    let megabytes: Option<i64> = words.take("megabytes").map(str::parse).transpose()?;
    description.resources = NodeResources {
        nano_cpus: cpus.map_or(description.resources.nano_cpus, |cpus| cpus * 1_000_000_000),
        memory_bytes: megabytes.map_or(description.resources.memory_bytes, |mb| mb << 20),
    };
    if let Some(route) = words.take("route") {
        description.routes.push(route.parse()?);
    }
    Ok(Change::ReportNode { id: node.id.clone(), description: Some(Box::new(description)), status: None })
}
