//! A pair of links that joins a sandbox with a bridge.

use ipnet::IpNet;
use shoal_model::Mac;
use shoal_model::netns::{Link, LinkKind, NamespaceName, Namespaces};
use std::collections::BTreeSet;

/// A pair of links: one end in a sandbox, the other a port of a bridge.
pub(super) struct Pair<'a> {
    pub(super) sandbox: &'a NamespaceName,
    /// Name of the end in the sandbox.
    pub(super) link: &'a str,
    pub(super) mac: Option<Mac>,
    pub(super) addresses: BTreeSet<IpNet>,
    pub(super) mtu: u32,
    /// Where the bridge is.
    pub(super) outside: &'a NamespaceName,
    /// Name of the end that is the bridge's port.
    pub(super) port: &'a str,
    pub(super) bridge: &'a str,
}

impl Pair<'_> {
    /// Declares both ends.
    pub(super) fn add_to(self, declared: &mut Namespaces) {
        let end = |peer_namespace: &NamespaceName, peer: &str| Link {
            kind: LinkKind::Veth { peer_namespace: peer_namespace.clone(), peer: peer.to_owned() },
            mac: None,
            mtu: self.mtu,
            master: None,
            addresses: BTreeSet::new(),
            up: true,
        };
        let port = Link { master: Some(self.bridge.to_owned()), ..end(self.sandbox, self.link) };
        let inner = Link { mac: self.mac, addresses: self.addresses, ..end(self.outside, self.port) };
        declared.entry(self.outside.clone()).or_default().links.insert(self.port.to_owned(), port);
        declared.entry(self.sandbox.clone()).or_default().links.insert(self.link.to_owned(), inner);
    }
}

/// The loopback device.
pub(super) fn loopback(addresses: BTreeSet<IpNet>) -> Link {
    Link { kind: LinkKind::Loopback, mac: None, mtu: 0, master: None, addresses, up: true }
}
