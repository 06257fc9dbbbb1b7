//! Subnets and VNIs of new networks.

use super::subnets;
use crate::draft::Draft;
use crate::plan::{AllocationTrouble, Report};
use shoal_model::network::FIRST_VNI;
use shoal_store::{Change, Claim, State};

/// VXLAN network identifiers have 24 bits (RFC 7348, section 5).
const LAST_VNI: u32 = (1 << 24) - 1;

pub(super) fn allocate(draft: &mut Draft<'_>) {
    let waiting = draft.state().networks().values().filter(|network| !network.is_allocated());
    // The routing mesh's network first: it is the one that has no second choice.
    let mut waiting: Vec<_> = waiting.cloned().collect();
    waiting.sort_by_key(|network| (!network.spec.ingress, network.meta.created_at));
    for network in waiting {
        let id = network.id.clone();
        let trouble = match (subnets::choose(draft.state(), &network), next_vni(draft.state())) {
            (Some(subnets), Some(vni)) => {
                draft.make(Change::AllocateNetwork { id, subnets, vni });
                continue;
            }
            (None, _) => AllocationTrouble::NoSubnet,
            (_, None) => AllocationTrouble::NoVni,
        };
        draft.report(Report::Network { network: id, trouble });
    }
}

/// The one behind the highest in use, so that a freed one rests; from the beginning again when they are used up.
fn next_vni(state: &State) -> Option<u32> {
    let highest = state.networks().values().map(|network| network.vni).max().unwrap_or(0);
    let next = (highest + 1).max(FIRST_VNI);
    if next <= LAST_VNI {
        return Some(next);
    }
    (FIRST_VNI..=LAST_VNI).find(|vni| state.holder(&Claim::Vni(*vni)).is_none())
}
