//! What to send of a node's assignments: the whole at first, then differences.

use crate::{AssignmentDiff, ManagerMessage};
use shoal_model::Assignment;
use std::sync::Arc;

/// Remembers what a node was sent, and so what it still needs.
#[derive(Debug, Default)]
pub struct AssignmentFeed {
    sent: Option<Arc<Assignment>>,
}

impl AssignmentFeed {
    /// What brings the node to `wanted`; nothing if it is there.
    pub fn next(&mut self, wanted: &Arc<Assignment>) -> Option<ManagerMessage> {
        let message = match &self.sent {
            None => ManagerMessage::Assignment(Box::new(Assignment::clone(wanted))),
            Some(sent) if Arc::ptr_eq(sent, wanted) => return None,
            Some(sent) => {
                let diff = AssignmentDiff::between(sent, wanted);
                if diff.is_empty() {
                    return None;
                }
                ManagerMessage::AssignmentDiff(Box::new(diff))
            }
        };
        self.sent = Some(Arc::clone(wanted));
        Some(message)
    }

    /// The node has lost its place: it gets the whole next time.
    pub fn forget(&mut self) {
        self.sent = None;
    }
}
