//! The control loop never wants what the state cannot take.

use super::Broken;
use shoal_control::{Plan, Report};

pub(super) fn check(plan: &Plan) -> Result<(), Broken> {
    let wanted = plan.report.iter().find(|report| matches!(report, Report::NotPossible(_)));
    match wanted {
        None => Ok(()),
        Some(report) => Err(Broken { invariant: "possible", how: format!("{report:?}") }),
    }
}
