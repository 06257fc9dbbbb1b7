//! Why a task finds no node, in Docker's words.

use std::collections::BTreeMap;
use std::fmt;

/// Why one node is not fit for a task. The order is the one in which nodes are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    NotAvailable,
    Resources,
    MissingPlugin,
    Constraints,
    Platform,
    HostPort,
    MaxReplicas,
}

impl Reason {
    fn explain(self, nodes: usize) -> String {
        let on = if nodes == 1 { "on 1 node".to_owned() } else { format!("on {nodes} nodes") };
        match self {
            Self::NotAvailable if nodes == 1 => "1 node not available for new tasks".to_owned(),
            Self::NotAvailable => format!("{nodes} nodes not available for new tasks"),
            Self::Resources => format!("insufficient resources {on}"),
            Self::MissingPlugin => format!("missing plugin {on}"),
            Self::Constraints => format!("scheduling constraints not satisfied {on}"),
            Self::Platform => format!("unsupported platform {on}"),
            Self::HostPort => format!("host-mode port already in use {on}"),
            Self::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        }
    }
}

/// The reasons of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    nodes: BTreeMap<Reason, usize>,
}

impl Reasons {
    pub(super) fn add(&mut self, reason: Reason) {
        *self.nodes.entry(reason).or_default() += 1;
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        let mut all = Self::default();
        reasons.into_iter().for_each(|reason| all.add(reason));
        all
    }
}

impl fmt::Display for Reasons {
    /// The reason that most nodes have comes first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no suitable node")?;
        let mut sorted: Vec<_> = self.nodes.iter().collect();
        sorted.sort_by_key(|(reason, nodes)| (std::cmp::Reverse(**nodes), **reason));
        let explained: Vec<_> = sorted.into_iter().map(|(reason, nodes)| reason.explain(*nodes)).collect();
        if explained.is_empty() { Ok(()) } else { write!(f, " ({})", explained.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_dockers_do() {
        use Reason::{Constraints, HostPort, MaxReplicas, NotAvailable, Resources};
        for (reasons, text) in [
            (vec![], "no suitable node"),
            (vec![NotAvailable], "no suitable node (1 node not available for new tasks)"),
            (
                vec![Constraints, Resources, Resources],
                "no suitable node (insufficient resources on 2 nodes; scheduling constraints not satisfied on 1 node)",
            ),
            (
                vec![MaxReplicas, MaxReplicas, HostPort],
                "no suitable node (max replicas per node limit exceed; host-mode port already in use on 1 node)",
            ),
            (vec![NotAvailable; 3], "no suitable node (3 nodes not available for new tasks)"),
        ] {
            assert_eq!(reasons.into_iter().collect::<Reasons>().to_string(), text);
        }
    }
}
