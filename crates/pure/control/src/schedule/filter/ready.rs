//! The node must be there and take tasks.

use crate::schedule::node_set::NodeLoad;
use crate::schedule::reasons::Reason;
use shoal_model::node::{Availability, NodeState};
use shoal_model::spec::TaskSpec;

pub(super) fn check(_: &TaskSpec, load: &NodeLoad) -> Result<(), Reason> {
    let node = &load.node;
    let ready = node.status.state == NodeState::Ready && node.spec.availability == Availability::Active;
    if ready { Ok(()) } else { Err(Reason::NotAvailable) }
}
