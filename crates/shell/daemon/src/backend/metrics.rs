//! What is told to Prometheus, read when it is asked for.

use super::{Backend, internal};
use crate::manager::Manager;
use crate::verify;
use crate::virtual_server;
use async_trait::async_trait;
use shoal_api::Metrics;
use shoal_model::node::NodeState;
use shoal_wire::ApiError;
use shoal_wire::metrics::{self, Measured, MeasuredManager};
use std::collections::BTreeMap;

#[async_trait]
impl Metrics for Backend {
    async fn metrics(&self) -> Result<String, ApiError> {
        let (engine, member) = (self.engine.clone(), self.swarm.member().ok());
        super::blocking(move || {
            let balancing =
                virtual_server::show(&engine, false).map_err(|e| internal(crate::node_loop::chain(&e)))?;
            let counts = engine.tallies.now();
            let own = member.as_ref().map(|member| &member.own);
            let holds = own.map(|own| counts.digest == shoal_agent::digest(&own.assignment.borrow()));
            let measured = Measured {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                balancing,
                found: counts.found,
                foreign: counts.foreign,
                passes: counts.passes,
                failed_passes: counts.failed_passes,
                pass_seconds: counts.pass_time.as_secs_f64(),
                holds,
                tasks: counts.tasks,
                manager: member.as_ref().and_then(|m| m.dispatcher.as_ref()).map(|d| managing(&d.manager)),
            };
            Ok(metrics::text(&measured))
        })
        .await
    }
}

fn managing(manager: &Manager) -> MeasuredManager {
    let (state, leads) = (manager.log.state(), manager.log.leadership().borrow().is_leader);
    let mut nodes = BTreeMap::new();
    for known in [NodeState::Unknown, NodeState::Ready, NodeState::Down, NodeState::Disconnected] {
        let count = state.nodes().values().filter(|node| node.status.state == known).count();
        nodes.insert(known.as_str().to_owned(), u64::try_from(count).unwrap_or(u64::MAX));
    }
    let converged = state.nodes().values().map(|node| {
        let told = manager.holdings.of(&node.id);
        let holds = told.is_some_and(|told| told.digest == verify::assigned(manager, node));
        (node.description.hostname.clone(), holds)
    });
    MeasuredManager {
        leads,
        log_index: state.index(),
        nodes,
        converged: if leads { converged.collect() } else { BTreeMap::new() },
    }
}
