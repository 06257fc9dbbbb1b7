//! This node, for whoever asks how it is: comparing without repairing.

use crate::deviations;
use crate::engine::Engine;
use crate::local_facts;
use crate::node_loop::Identity;
use anyhow::Context;
use shoal_model::Assignment;
use shoal_model::verdict::Comparison;
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

    fn compare_with(&self, assignment: &Assignment) -> anyhow::Result<Comparison> {
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
        let mut found = shoal_agent::deviations(&declared, &namespaces);
        let balancing = engine.with_virtual_server(|server| server.check(&table));
        found.extend(balancing.context("reading the virtual server")?.iter().map(deviations::of_balancing));
        Ok(Comparison { assigned: shoal_agent::digest(assignment), deviations: found })
    }
}
