//! Differences of the virtual server in the words that all deviations have.

use shoal_lvs::{Difference, Subject};
use shoal_model::{Deviation, DeviationKind, Found};

/// What the virtual server found, as a deviation.
#[allow(clippy::match_wildcard_for_single_variants, reason = "an engine may find what others have not")]
pub(crate) fn of_balancing(difference: &Difference) -> Deviation {
    let kind = match &difference.subject {
        Subject::Mesh | Subject::NodeAddress(_) | Subject::MeshTask(_) => DeviationKind::Mesh,
        Subject::Sandbox(_) => DeviationKind::Sandbox,
        Subject::Service(_) => DeviationKind::VirtualService,
        Subject::RealServer(..) => DeviationKind::RealServer,
        Subject::Program { .. } | Subject::SocketProgram(_) => DeviationKind::Program,
        _ => DeviationKind::VirtualServer,
    };
    let found = match difference.found {
        shoal_lvs::Found::Missing => Found::Missing,
        shoal_lvs::Found::Different => Found::Different,
        shoal_lvs::Found::Unexpected => Found::Unexpected,
    };
    let detail = difference.unrepaired.clone().unwrap_or_default();
    Deviation { kind, namespace: String::new(), what: difference.subject.to_string(), found, detail }
}
