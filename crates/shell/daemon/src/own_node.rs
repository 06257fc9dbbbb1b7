//! This node, for whoever asks how it is: comparing without repairing.

use crate::deviations;
use crate::engine::Engine;
use crate::listeners;
use crate::local_facts;
use crate::node_loop::Identity;
use anyhow::Context;
use shoal_agent::names;
use shoal_model::assignment::ContainerState;
use shoal_model::lvs::Table;
use shoal_model::netns::Namespaces;
use shoal_model::trace::{HeldTask, Holdings};
use shoal_model::verdict::Comparison;
use shoal_model::{Assignment, Deviation, TaskId};
use std::sync::Arc;
use tokio::sync::watch;

/// This node while it is in a swarm.
#[derive(Clone)]
pub(crate) struct OwnNode {
    pub(crate) engine: Arc<Engine>,
    pub(crate) identity: Identity,
    /// What the managers want.
    pub(crate) assignment: watch::Receiver<Arc<Assignment>>,
}

impl OwnNode {
    /// Compares the kernel with the newest assignment.
    pub(crate) async fn compare(&self) -> anyhow::Result<Comparison> {
        let (node, assignment) = (self.clone(), self.assignment.borrow().clone());
        tokio::task::spawn_blocking(move || node.compare_with(&assignment)).await?
    }

    /// Tells what it holds.
    pub(crate) async fn holdings(&self) -> anyhow::Result<Holdings> {
        let (node, assignment) = (self.clone(), self.assignment.borrow().clone());
        tokio::task::spawn_blocking(move || node.hold(&assignment)).await?
    }

    fn compare_with(&self, assignment: &Assignment) -> anyhow::Result<Comparison> {
        let looked = self.look(assignment)?;
        let mut found = shoal_agent::deviations(&looked.declared, &looked.namespaces);
        found.extend(looked.balancing);
        Ok(Comparison { assigned: shoal_agent::digest(assignment), deviations: found })
    }

    fn hold(&self, assignment: &Assignment) -> anyhow::Result<Holdings> {
        let looked = self.look(assignment)?;
        let connections = self.engine.with_virtual_server(|server| server.connections());
        let observed = &self.engine.view.borrow().observed;
        let task = |id: &TaskId| {
            let pid = match observed.containers.get(id).map(|container| &container.state) {
                Some(ContainerState::Running { pid, .. }) => Some(*pid),
                _ => None,
            };
            HeldTask {
                sandbox: names::sandbox(id),
                running: pid.is_some(),
                listeners: pid.map(listeners::of).unwrap_or_default(),
            }
        };
        Ok(Holdings {
            hostname: self.engine.machine.hostname.clone(),
            tasks: assignment.tasks.keys().map(|id| (id.clone(), task(id))).collect(),
            namespaces: looked.namespaces,
            services: looked.table.services.into_iter().collect(),
            mesh: looked.table.mesh,
            deviations: looked.balancing,
            connections: connections.context("reading the connections")?,
        })
    }

    /// Reads what is declared and what is there.
    fn look(&self, assignment: &Assignment) -> anyhow::Result<Looked> {
        let engine = &self.engine;
        if assignment.version == 0 {
            anyhow::bail!("the managers have not told it yet what to hold");
        }
        // A repair on its way would be seen half done.
        let _still = engine.stand_still();
        let view = engine.view.borrow().clone();
        let namespaces = engine.host.observe(&view.declared).context("reading the namespaces")?;
        let facts = local_facts::observe(engine, &self.identity, &namespaces)?;
        let now = crate::entropy::now();
        let declared = shoal_agent::declare(assignment, &view.observed, &namespaces, &facts, now);
        let table = shoal_agent::table(assignment, &view.observed, &declared, &facts);
        let found = engine.with_virtual_server(|server| server.check(&table));
        let found = found.context("reading the virtual server")?;
        let balancing = found.iter().map(deviations::of_balancing).collect();
        Ok(Looked { declared, namespaces, table, balancing })
    }
}

/// What one look saw.
struct Looked {
    declared: Namespaces,
    namespaces: Namespaces,
    table: Table,
    /// What of the virtual server is not as declared.
    balancing: Vec<Deviation>,
}
