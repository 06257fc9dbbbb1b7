//! Namespaces in memory that carry out repairs as the kernel would, and refuse what it would refuse.

use shoal_agent::names;
use shoal_model::Mac;
use shoal_model::netns::{Link, LinkKind, Namespace, NamespaceName, Namespaces, NetOp, Route};
use std::collections::BTreeSet;

#[derive(Debug, Clone, Default)]
pub(crate) struct Fake {
    pub(crate) namespaces: Namespaces,
    macs: u32,
}

type Done = Result<(), String>;

impl Fake {
    /// A machine with nothing of Shoal's.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// A machine that holds this already; links without a MAC have some.
    pub(crate) fn holding(namespaces: &Namespaces) -> Self {
        let mut fake = Self { namespaces: namespaces.clone(), macs: 0 };
        let mut next = 0_u32;
        for link in fake.namespaces.values_mut().flat_map(|n| n.links.values_mut()) {
            next += 1;
            if link.kind != LinkKind::Loopback && link.mac.is_none() {
                link.mac = Some(some_mac(next));
            }
        }
        fake.macs = next;
        fake
    }

    pub(crate) fn apply_all(&mut self, ops: &[NetOp]) {
        for op in ops {
            if let Err(refusal) = self.apply(op) {
                panic!("{refusal}: {op:?}\nof\n{}", crate::show::ops(ops));
            }
        }
    }

    /// Fails unless the machine holds exactly what is declared, as far as that says.
    pub(crate) fn assert_holds(&self, declared: &Namespaces) {
        let mut held = self.namespaces.clone();
        let mut wanted = declared.clone();
        for side in [&mut held, &mut wanted] {
            side.entry(NamespaceName::Host).or_default();
        }
        for (name, namespace) in &mut held {
            let Some(wanted) = wanted.get(name) else { continue };
            namespace.sysctls.retain(|parameter, _| wanted.sysctls.contains_key(parameter));
            for (name, link) in &mut namespace.links {
                let Some(wanted) = wanted.links.get(name) else { continue };
                link.mac = wanted.mac.and(link.mac);
                link.mtu = if wanted.mtu == 0 { 0 } else { link.mtu };
            }
        }
        let (held, wanted) = (crate::show::namespaces(&held), crate::show::namespaces(&wanted));
        assert!(held == wanted, "held:\n{held}\ndeclared:\n{wanted}");
    }

    pub(crate) fn apply(&mut self, op: &NetOp) -> Done {
        match op.clone() {
            NetOp::CreateNamespace(name) => self.create_namespace(&name),
            NetOp::RemoveNamespace(name) => self.remove_namespace(&name),
            NetOp::CreateLink { namespace, name, link, peer_link } => {
                self.create_link(&namespace, &name, &link, peer_link.as_deref())
            }
            NetOp::RemoveLink { namespace, name } => self.remove_link(&namespace, &name),
            NetOp::SetLink { namespace, name, link } => self.set_link(&namespace, &name, &link),
            NetOp::AddAddress { namespace, link, address } => {
                self.link(&namespace, &link)?.addresses.insert(address);
                Ok(())
            }
            NetOp::RemoveAddress { namespace, link, address } => {
                // At worst it was the first of its subnet, and the others go with it.
                self.link(&namespace, &link)?.addresses.retain(|a| a.trunc() != address.trunc());
                Ok(())
            }
            NetOp::AddRoute(namespace, route) => self.add_route(&namespace, route),
            NetOp::RemoveRoute(namespace, route) => {
                gone(self.namespace(&namespace)?.routes.remove(&route), "no such route")
            }
            NetOp::AddRule(namespace, rule) => {
                self.namespace(&namespace)?.rules.insert(rule);
                Ok(())
            }
            NetOp::RemoveRule(namespace, rule) => {
                gone(self.namespace(&namespace)?.rules.remove(&rule), "no such rule")
            }
            NetOp::AddNeighbour(namespace, entry) => {
                self.link(&namespace, &entry.link)?;
                let held = &mut self.namespace(&namespace)?.neighbours;
                held.retain(|n| (&n.link, n.address) != (&entry.link, entry.address));
                held.insert(entry);
                Ok(())
            }
            NetOp::RemoveNeighbour(namespace, entry) => {
                gone(self.namespace(&namespace)?.neighbours.remove(&entry), "no such neighbour")
            }
            NetOp::AddForwarding(namespace, entry) => {
                if !matches!(self.link(&namespace, &entry.link)?.kind, LinkKind::Vxlan { .. }) {
                    return Err("not a tunnel".to_owned());
                }
                let held = &mut self.namespace(&namespace)?.forwarding;
                held.retain(|f| (&f.link, f.mac) != (&entry.link, entry.mac));
                held.insert(entry);
                Ok(())
            }
            NetOp::RemoveForwarding(namespace, entry) => {
                gone(self.namespace(&namespace)?.forwarding.remove(&entry), "no such forwarding entry")
            }
            NetOp::SetSysctl { namespace, name, value } => self.set_sysctl(&namespace, name, value),
            NetOp::SetFirewall(namespace, rules) => {
                self.namespace(&namespace)?.firewall = rules;
                Ok(())
            }
        }
    }

    fn namespace(&mut self, name: &NamespaceName) -> Result<&mut Namespace, String> {
        if *name == NamespaceName::Host {
            return Ok(self.namespaces.entry(NamespaceName::Host).or_default());
        }
        self.namespaces.get_mut(name).ok_or_else(|| format!("no namespace {name}"))
    }

    fn link(&mut self, namespace: &NamespaceName, name: &str) -> Result<&mut Link, String> {
        let links = &mut self.namespace(namespace)?.links;
        links.get_mut(name).ok_or_else(|| format!("no link {namespace}/{name}"))
    }

    fn create_namespace(&mut self, name: &NamespaceName) -> Done {
        if *name == NamespaceName::Host || self.namespaces.contains_key(name) {
            return Err("it is there".to_owned());
        }
        let lo = Link {
            kind: LinkKind::Loopback,
            mac: None,
            mtu: 0,
            master: None,
            addresses: BTreeSet::new(),
            up: true,
        };
        self.namespaces.entry(name.clone()).or_default().links.insert(names::LOOPBACK.to_owned(), lo);
        Ok(())
    }

    fn remove_namespace(&mut self, name: &NamespaceName) -> Done {
        if *name == NamespaceName::Host {
            return Err("never the host's".to_owned());
        }
        for link in self.namespace(name)?.links.clone().keys() {
            self.drop_link(name, link);
        }
        gone(self.namespaces.remove(name).is_some(), "no such namespace")
    }

    fn create_link(
        &mut self,
        namespace: &NamespaceName,
        name: &str,
        link: &Link,
        peer_link: Option<&Link>,
    ) -> Done {
        if self.namespace(namespace)?.links.contains_key(name) {
            return Err("there is a link of that name".to_owned());
        }
        match &link.kind {
            LinkKind::Loopback => return Err("lo is never made".to_owned()),
            LinkKind::Bridge => {}
            LinkKind::Vxlan { vni, port, .. } => {
                let all = self.namespaces.values().flat_map(|n| n.links.values());
                let same = |l: &Link| matches!(l.kind, LinkKind::Vxlan { vni: v, port: p, .. } if (v, p) == (*vni, *port));
                if all.into_iter().any(same) {
                    return Err("the tunnel's number is taken".to_owned());
                }
            }
            LinkKind::Veth { peer_namespace, peer } => {
                let other = peer_link.ok_or("a pair needs both ends")?;
                if (peer_namespace, peer.as_str()) == (namespace, name)
                    || self.namespace(peer_namespace)?.links.contains_key(peer)
                {
                    return Err("there is a link of the other end's name".to_owned());
                }
                self.add_link(peer_namespace, peer, other)?;
            }
        }
        self.add_link(namespace, name, link)
    }

    fn add_link(&mut self, namespace: &NamespaceName, name: &str, link: &Link) -> Done {
        self.check_master(namespace, link)?;
        self.macs += 1;
        let mac = link.mac.or(Some(some_mac(self.macs)));
        let mtu = if link.mtu == 0 { 1500 } else { link.mtu };
        let link = Link { mac, mtu, ..link.clone() };
        self.namespace(namespace)?.links.insert(name.to_owned(), link);
        Ok(())
    }

    fn check_master(&mut self, namespace: &NamespaceName, link: &Link) -> Done {
        let Some(master) = &link.master else { return Ok(()) };
        let is_bridge = self.link(namespace, master)?.kind == LinkKind::Bridge;
        gone(is_bridge, "its master is no bridge")
    }

    fn set_link(&mut self, namespace: &NamespaceName, name: &str, link: &Link) -> Done {
        self.check_master(namespace, link)?;
        let held = self.link(namespace, name)?;
        held.mac = link.mac.or(held.mac);
        held.mtu = if link.mtu == 0 { held.mtu } else { link.mtu };
        held.master.clone_from(&link.master);
        held.up = link.up;
        Ok(())
    }

    fn remove_link(&mut self, namespace: &NamespaceName, name: &str) -> Done {
        if self.link(namespace, name)?.kind == LinkKind::Loopback {
            return Err("lo is never removed".to_owned());
        }
        self.drop_link(namespace, name);
        Ok(())
    }

    /// Removes a link with all that the kernel takes along.
    pub(crate) fn drop_link(&mut self, namespace: &NamespaceName, name: &str) {
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        let Some(link) = held.links.remove(name) else { return };
        held.routes.retain(|r| r.link != name);
        held.neighbours.retain(|n| n.link != name);
        held.forwarding.retain(|f| f.link != name);
        held.sysctls.retain(|parameter, _| !parameter.contains(&format!(".{name}.")));
        for port in held.links.values_mut().filter(|l| l.master.as_deref() == Some(name)) {
            port.master = None;
        }
        if let LinkKind::Veth { peer_namespace, peer } = link.kind {
            self.drop_link(&peer_namespace, &peer);
        }
    }

    fn add_route(&mut self, namespace: &NamespaceName, route: Route) -> Done {
        let link = self.link(namespace, &route.link)?;
        let reachable = |via: std::net::IpAddr| link.addresses.iter().any(|a| a.contains(&via));
        if !link.up || !route.via.is_none_or(reachable) {
            return Err("the next hop cannot be reached".to_owned());
        }
        let routes = &mut self.namespace(namespace)?.routes;
        routes.retain(|r| (r.destination, r.table) != (route.destination, route.table));
        routes.insert(route);
        Ok(())
    }

    fn set_sysctl(&mut self, namespace: &NamespaceName, name: String, value: String) -> Done {
        let parts: Vec<&str> = name.split('.').collect();
        if let ["net", _, "conf" | "neigh", link, _] = parts.as_slice()
            && !["all", "default"].contains(link)
        {
            self.link(namespace, link)?;
        }
        self.namespace(namespace)?.sysctls.insert(name, value);
        Ok(())
    }
}

fn gone(done: bool, refusal: &str) -> Done {
    if done { Ok(()) } else { Err(refusal.to_owned()) }
}

fn some_mac(number: u32) -> Mac {
    let mut bytes = [0x06; 6];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    Mac(bytes)
}
