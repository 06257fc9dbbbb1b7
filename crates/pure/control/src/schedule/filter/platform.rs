//! The image must run on the node's processor and operating system, where the client could find out which it needs.

use crate::schedule::node_set::NodeLoad;
use crate::schedule::reasons::Reason;
use shoal_model::constraint::same_arch;
use shoal_model::spec::{Platform, TaskSpec};

pub(super) fn check(spec: &TaskSpec, load: &NodeLoad) -> Result<(), Reason> {
    let wanted = spec.placement.as_ref().map(|p| p.platforms.as_slice()).unwrap_or_default();
    let has = &load.node.description.platform;
    if wanted.is_empty() || wanted.iter().any(|wanted| runs_on(wanted, has)) {
        Ok(())
    } else {
        Err(Reason::Platform)
    }
}

/// What either side leaves open matches.
fn runs_on(wanted: &Platform, has: &Platform) -> bool {
    let open = |a: &str, b: &str| a.is_empty() || b.is_empty();
    let os = open(&wanted.os, &has.os) || wanted.os.eq_ignore_ascii_case(&has.os);
    let processor =
        open(&wanted.architecture, &has.architecture) || same_arch(&wanted.architecture, &has.architecture);
    os && processor
}
