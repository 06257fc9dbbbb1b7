//! What will be there once the repairs so far are carried out. The kernel takes things along when it removes a link;
//! whoever compares only with what was seen would miss them until the next look.

use shoal_model::netns::{Link, LinkKind, Namespace, NamespaceName, Namespaces, NetOp};

/// A list of repairs in the making, with what they lead to.
pub(super) struct Repair {
    pub(super) ops: Vec<NetOp>,
    pub(super) expected: Namespaces,
}

impl Repair {
    pub(super) fn new(observed: &Namespaces) -> Self {
        Self { ops: Vec::new(), expected: observed.clone() }
    }

    /// The namespace as it will be; empty for the host's if nothing was seen there.
    pub(super) fn namespace(&mut self, name: &NamespaceName) -> &mut Namespace {
        self.expected.entry(name.clone()).or_default()
    }

    pub(super) fn link(&self, namespace: &NamespaceName, name: &str) -> Option<&Link> {
        self.expected.get(namespace)?.links.get(name)
    }

    /// Whether a pair's other end points back at this one. Ends that do not are of no use.
    pub(super) fn is_whole(&self, namespace: &NamespaceName, name: &str, link: &Link) -> bool {
        let LinkKind::Veth { peer_namespace, peer } = &link.kind else { return true };
        let back = LinkKind::Veth { peer_namespace: namespace.clone(), peer: name.to_owned() };
        self.link(peer_namespace, peer).is_some_and(|other| other.kind == back)
    }

    /// Removes a link, if it is there.
    pub(super) fn remove_link(&mut self, namespace: &NamespaceName, name: &str) {
        if self.link(namespace, name).is_none() {
            return;
        }
        self.ops.push(NetOp::RemoveLink { namespace: namespace.clone(), name: name.to_owned() });
        self.forget_link(namespace, name);
    }

    /// What goes with a link: its other end, and everything that hangs on either.
    fn forget_link(&mut self, namespace: &NamespaceName, name: &str) {
        let held = self.namespace(namespace);
        let Some(link) = held.links.remove(name) else { return };
        held.routes.retain(|route| route.link != name);
        held.neighbours.retain(|neighbour| neighbour.link != name);
        held.forwarding.retain(|entry| entry.link != name);
        held.sysctls.retain(|parameter, _| sysctl_link(parameter) != Some(name));
        for port in held.links.values_mut().filter(|port| port.master.as_deref() == Some(name)) {
            port.master = None;
        }
        if let LinkKind::Veth { peer_namespace, peer } = link.kind {
            let back = LinkKind::Veth { peer_namespace: namespace.clone(), peer: name.to_owned() };
            if self.link(&peer_namespace, &peer).is_some_and(|other| other.kind == back) {
                self.forget_link(&peer_namespace, &peer);
            }
        }
    }
}

/// The link that a kernel parameter belongs to, such as `eth0` of `net.ipv4.conf.eth0.rp_filter`.
pub(super) fn sysctl_link(parameter: &str) -> Option<&str> {
    let mut parts = parameter.split('.');
    let (root, _family, group, link) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let of_link = root == "net" && matches!(group, "conf" | "neigh") && !matches!(link, "all" | "default");
    (of_link && parts.next().is_some()).then_some(link)
}
