//! The text of `shoal net verify`.

use shoal_model::verdict::{Outcome, Verdict};
use std::fmt::Write as _;

/// What came of it for each node, and every difference below its node.
pub fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    let width = verdict.nodes.iter().map(|n| n.hostname.len()).max().unwrap_or(0).max("NODE".len());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<width$}   KERNEL", "NODE");
    for node in &verdict.nodes {
        let (state, deviations) = match &node.outcome {
            Outcome::Clean => ("as declared".to_owned(), None),
            Outcome::Silent { reason } => (format!("not known: {reason}"), None),
            Outcome::Differs { deviations } => (counted(deviations.len()), Some(deviations)),
        };
        let _ = writeln!(text, "{:<width$}   {state}", node.hostname);
        for deviation in deviations.into_iter().flatten() {
            let _ = writeln!(text, "  {deviation}");
        }
    }
    if !verdict.note.is_empty() {
        let _ = writeln!(text, "{}", verdict.note);
    }
    text
}

fn counted(differences: usize) -> String {
    format!("{differences} difference{}", if differences == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::verdict::NodeVerdict;
    use shoal_model::{Deviation, DeviationKind, Found, NodeId};

    fn verdict() -> Verdict {
        let missing = Deviation {
            kind: DeviationKind::Forwarding,
            namespace: "1-00000y509s".to_owned(),
            what: "forwarding entry 02:42:5a:1c:ab:fb to 192.168.50.12 on vxlan0".to_owned(),
            found: Found::Missing,
            detail: String::new(),
        };
        let program = Deviation {
            kind: DeviationKind::Program,
            namespace: String::new(),
            what: "program shoal_entry on eth0 in host".to_owned(),
            found: Found::Different,
            detail: "not repaired: no such link".to_owned(),
        };
        let node = |number, hostname: &str, outcome| NodeVerdict {
            node: NodeId::from_random(number),
            hostname: hostname.to_owned(),
            outcome,
        };
        let nodes = vec![
            node(1, "swarm-manager", Outcome::Clean),
            node(2, "swarm-worker1", Outcome::Differs { deviations: vec![missing, program] }),
            node(3, "swarm-worker2", Outcome::Silent { reason: "it is down".to_owned() }),
        ];
        Verdict { nodes, note: "a note".to_owned() }
    }

    #[test]
    fn every_difference_stands_below_its_node() {
        assert_eq!(
            text(&verdict()),
            "NODE            KERNEL\n\
             swarm-manager   as declared\n\
             swarm-worker1   2 differences\n\
             \x20 forwarding entry 02:42:5a:1c:ab:fb to 192.168.50.12 on vxlan0 in 1-00000y509s is missing\n\
             \x20 program shoal_entry on eth0 in host differs (not repaired: no such link)\n\
             swarm-worker2   not known: it is down\n\
             a note\n"
        );
        assert!(!verdict().is_clean());
        assert_eq!(verdict().silent().collect::<Vec<_>>(), [("swarm-worker2", "it is down")]);
    }

    #[test]
    fn json_tells_the_outcome_in_a_field() {
        let value = serde_json::to_value(verdict()).unwrap();
        assert_eq!(value["Nodes"][0]["Outcome"], "Clean");
        assert_eq!(value["Nodes"][1]["Deviations"][0]["Kind"], "forwarding");
        assert_eq!(value["Nodes"][2]["Reason"], "it is down");
        assert_eq!(serde_json::from_value::<Verdict>(value).unwrap(), verdict());
    }
}
