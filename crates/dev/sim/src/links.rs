//! The network between the nodes: delays, losses, cuts.

use rand::{Rng, RngCore};
use shoal_model::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

/// The network between the nodes.
#[derive(Debug, Clone)]
pub struct Links {
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Messages lost, of a thousand.
    pub loss_per_mille: u32,
    /// The longest way of a message.
    pub delay_max: Duration,
}

impl Links {
    /// A network without faults whose every message takes one millisecond.
    pub fn perfect() -> Self {
        Self { cut: BTreeSet::new(), loss_per_mille: 0, delay_max: Duration::from_millis(1) }
    }

    /// Parts two nodes.
    pub fn cut(&mut self, a: &NodeId, b: &NodeId) {
        self.cut.insert(ordered(a, b));
    }

    /// Joins all nodes again.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether two nodes can speak to each other at all.
    pub fn joined(&self, a: &NodeId, b: &NodeId) -> bool {
        a == b || !self.cut.contains(&ordered(a, b))
    }

    /// How long a message from `a` to `b` takes; `None` if it is lost.
    pub fn carry(&self, a: &NodeId, b: &NodeId, rng: &mut dyn RngCore) -> Option<Duration> {
        if !self.joined(a, b) {
            return None;
        }
        if a != b && self.loss_per_mille > 0 && rng.random_range(0..1000) < self.loss_per_mille {
            return None;
        }
        let most = u64::try_from(self.delay_max.as_millis()).unwrap_or(1).max(1);
        Some(Duration::from_millis(rng.random_range(1..=most)))
    }
}

fn ordered(a: &NodeId, b: &NodeId) -> (NodeId, NodeId) {
    if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}
