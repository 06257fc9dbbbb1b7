//! Every node's own endpoint on the ingress network, in its ingress sandbox.

use super::addresses::AddressBooks;
use crate::draft::Draft;
use crate::plan::{AllocationTrouble, Report};
use shoal_model::Mac;
use shoal_model::node::NodeAttachment;
use shoal_store::Change;

pub(super) fn allocate(draft: &mut Draft<'_>, books: &mut AddressBooks) {
    let ingress = draft.state().ingress_network().filter(|n| n.is_allocated()).map(|n| n.id.clone());
    let (mut detach, mut attach) = (Vec::new(), Vec::new());
    let mut nodes: Vec<_> = draft.state().nodes().values().collect();
    nodes.sort_by_key(|node| (node.meta.created_at, &node.id));
    for node in nodes {
        let stale = node.attachments.keys().filter(|network| Some(*network) != ingress.as_ref());
        detach.extend(stale.map(|network| (node.id.clone(), network.clone())));
        if let Some(ingress) = ingress.as_ref().filter(|ingress| !node.attachments.contains_key(*ingress)) {
            attach.push((node.id.clone(), ingress.clone()));
        }
    }
    for (id, network) in detach {
        draft.make(Change::AttachNode { id, network, attachment: None });
    }
    for (id, network) in attach {
        let Some(addresses) = books.next(draft.state(), &network) else {
            draft.report(Report::Network { network, trouble: AllocationTrouble::NoAddress });
            return;
        };
        let mac = Mac::of_endpoint(id.as_str(), network.as_str());
        let attachment = Some(NodeAttachment { addresses, mac });
        draft.make(Change::AttachNode { id, network, attachment });
    }
}
