//! The repairs that lead from what was seen to what is declared.
use shoal_model::netns::{Namespaces, NetOp};

/// The repairs that lead from `observed` to `declared`, in an order that works.
pub fn diff(_declared: &Namespaces, _observed: &Namespaces) -> Vec<NetOp> {
    Vec::new()
}
