//! The ways by which a task's answers go back to the nodes that clients of published ports came through, where the
//! virtual server marks the answers: a mark and a routing table for each node.

use super::sandbox::default_route;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shoal_model::Mac;
use shoal_model::assignment::NetworkAssignment;
use shoal_model::lvs::entry_mark;
use shoal_model::netns::{Namespace, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Before the rule for answers without a mark, which leave by the gateway.
const PRIORITY: u32 = 90;

/// The ingress endpoints of the nodes.
pub(crate) fn entries(network: &NetworkAssignment) -> BTreeMap<Mac, BTreeSet<IpAddr>> {
    let of_nodes = network.endpoints.iter().filter(|(holder, e)| holder.as_str() == e.node.as_str());
    let mut entries: BTreeMap<Mac, BTreeSet<IpAddr>> = BTreeMap::new();
    for (_, endpoint) in of_nodes {
        entries.entry(endpoint.mac).or_default().extend(&endpoint.addresses);
    }
    entries
}

/// Declares them for a sandbox whose link on the ingress network this is.
pub(super) fn add(sandbox: &mut Namespace, network: &NetworkAssignment, link: &str) {
    for addresses in entries(network).into_values() {
        let Some(mark) = entry_mark(&addresses) else { continue };
        for address in addresses {
            let from: IpNet =
                if address.is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() };
            sandbox.rules.insert(Rule { from, mark: Some(mark), table: mark, priority: PRIORITY });
            sandbox.routes.insert(default_route(address, link, mark));
        }
    }
}
