//! Whose doing a difference is. While the declared state changes, differences are the node's normal work. When a pass
//! declares what the pass before declared, and that pass left everything as declared, then somebody else has changed the
//! kernel: it is logged with what was found, and counted.

use shoal_model::Deviation;
use shoal_model::lvs::Table;
use shoal_model::netns::Namespaces;

/// Differences that one pass logs at most; the rest is only counted.
const LOGGED: usize = 50;

/// What one pass found before it repaired.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) namespaces: Vec<Deviation>,
    pub(crate) balancing: Vec<Deviation>,
    /// Whether everything was as declared when the pass was over.
    pub(crate) holds: bool,
}

/// Remembers what was declared when everything was as declared.
#[derive(Debug, Default)]
pub(crate) struct ForeignHands {
    settled: Option<(Namespaces, Table)>,
}

impl ForeignHands {
    /// Picks out of a pass's findings those that are a foreign hand's.
    pub(crate) fn judge<'a>(
        &mut self,
        declared: &Namespaces,
        table: &Table,
        findings: &'a Findings,
    ) -> Vec<&'a Deviation> {
        let mut foreign = Vec::new();
        if let Some((namespaces, balancing)) = &self.settled
            && namespaces == declared
        {
            foreign.extend(&findings.namespaces);
            if balancing == table {
                foreign.extend(&findings.balancing);
            }
        }
        if !findings.holds {
            self.settled = None;
        } else if self.settled.as_ref().is_none_or(|(n, b)| (n, b) != (declared, table)) {
            self.settled = Some((declared.clone(), table.clone()));
        }
        foreign
    }
}

/// Logs them.
pub(crate) fn log(foreign: &[&Deviation]) {
    for deviation in foreign.iter().take(LOGGED) {
        tracing::warn!(found = %deviation, "a foreign hand changed the kernel");
    }
    if foreign.len() > LOGGED {
        tracing::warn!(more = foreign.len() - LOGGED, "a foreign hand changed more of the kernel");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::netns::{Namespace, NamespaceName};
    use shoal_model::{DeviationKind, Found};
    use std::collections::BTreeSet;

    fn findings(namespaces: bool, balancing: bool, holds: bool) -> Findings {
        let deviation = |kind| Deviation {
            kind,
            namespace: String::new(),
            what: "it".to_owned(),
            found: Found::Missing,
            detail: String::new(),
        };
        Findings {
            namespaces: namespaces.then(|| deviation(DeviationKind::Route)).into_iter().collect(),
            balancing: balancing.then(|| deviation(DeviationKind::Program)).into_iter().collect(),
            holds,
        }
    }

    fn kinds(foreign: &[&Deviation]) -> Vec<DeviationKind> {
        foreign.iter().map(|d| d.kind).collect()
    }

    #[test]
    fn only_what_differs_while_nothing_was_to_change_is_a_foreign_hand() {
        let mut hands = ForeignHands::default();
        let (one, table) = (Namespaces::new(), Table::default());
        let two = Namespaces::from([(NamespaceName::ingress_sandbox(), Namespace::default())]);
        assert_eq!(kinds(&hands.judge(&one, &table, &findings(true, true, true))), [], "the first pass");
        let both = [DeviationKind::Route, DeviationKind::Program];
        assert_eq!(kinds(&hands.judge(&one, &table, &findings(true, true, true))), both);
        assert_eq!(kinds(&hands.judge(&two, &table, &findings(true, true, true))), [], "a change");
        assert_eq!(kinds(&hands.judge(&two, &table, &findings(false, false, false))), [], "not settled");
        assert_eq!(kinds(&hands.judge(&two, &table, &findings(true, true, true))), [], "still at it");
        let mut other = table.clone();
        other.sandboxes.insert(NamespaceName::ingress_sandbox(), BTreeSet::default());
        assert_eq!(kinds(&hands.judge(&two, &other, &findings(true, true, true))), [DeviationKind::Route]);
    }
}
