//! What the namespaces hold, in the form in which it is declared.

use crate::links::{self, Seen, SeenKind};
use crate::peers::Peers;
use crate::session::Session;
use crate::{Error, Host, Reason, addresses, firewall, namespace, neighbours, routes, sysctl};
use shoal_model::netns::{FirewallRule, Link, LinkKind, Namespace, NamespaceName, Namespaces};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

impl Host {
    /// What Shoal's namespaces hold now: of the host's namespace the links with our mark, the routes over them and our
    /// packet-filter table; of the others, everything. Of kernel parameters, only those that `interest` declares.
    pub fn observe(&self, interest: &Namespaces) -> Result<Namespaces, Error> {
        namespace::on_fresh_thread(|| Observer::new(self).observe(interest))?
    }
}

struct Observer<'h> {
    session: Session<'h>,
}

impl<'h> Observer<'h> {
    fn new(host: &'h Host) -> Self {
        Self { session: Session::new(host) }
    }

    fn observe(&mut self, interest: &Namespaces) -> Result<Namespaces, Error> {
        let mut links = BTreeMap::new();
        for name in self.names()? {
            match self.session.namespace(&name).and_then(|entered| links::dump(&mut entered.route)) {
                Ok(list) => drop(links.insert(name, list)),
                // It went away between being listed and being entered.
                Err(Reason::NoNamespace(_)) => {}
                Err(reason) => return Err(failed(&name, "links", reason)),
            }
        }
        let mut peers = Peers::new(&links);
        let mut observed = Namespaces::new();
        for (name, list) in &links {
            let mut seen = Namespace::default();
            self.links(name, list, &mut peers, &mut seen).map_err(|reason| failed(name, "links", reason))?;
            self.routing(name, list, &mut seen).map_err(|reason| failed(name, "routes", reason))?;
            self.neighbours(name, list, &mut seen).map_err(|reason| failed(name, "neighbours", reason))?;
            self.firewall(name, list, &mut seen)
                .map_err(|reason| failed(name, "the packet filter", reason))?;
            if let Some(declared) = interest.get(name) {
                self.sysctls(name, declared, &mut seen)
                    .map_err(|reason| failed(name, "parameters", reason))?;
            }
            observed.insert(name.clone(), seen);
        }
        Ok(observed)
    }

    fn names(&self) -> Result<Vec<NamespaceName>, Error> {
        let host = self.session.host;
        let files = namespace::file_names(&host.config.netns_root)?;
        let real = files.into_iter().filter(|name| namespace::is_namespace(&host.namespace_path(name)));
        Ok(std::iter::once(NamespaceName::Host).chain(real.map(NamespaceName::Named)).collect())
    }

    /// The links that count: in the host's namespace those with our mark, elsewhere all but devices of other sorts,
    /// which the kernel puts into every namespace if its modules are loaded (`sit0`, `tunl0`…).
    fn ours<'l>(&self, name: &NamespaceName, links: &'l [Seen]) -> impl Iterator<Item = &'l Seen> + use<'l> {
        let mark = (*name == NamespaceName::Host).then_some(self.session.host.config.owner.clone());
        links.iter().filter(move |link| match &mark {
            Some(owner) => link.alias == *owner,
            None => link.kind != SeenKind::Other,
        })
    }

    fn links<'l>(
        &mut self,
        name: &'l NamespaceName,
        links: &'l [Seen],
        peers: &mut Peers<'l>,
        seen: &mut Namespace,
    ) -> Result<(), Reason> {
        let addresses = addresses::dump(&mut self.session.namespace(name)?.route)?;
        for link in self.ours(name, links) {
            let kind = match &link.kind {
                SeenKind::Loopback => LinkKind::Loopback,
                SeenKind::Bridge => LinkKind::Bridge,
                SeenKind::Vxlan { vni, port, local } => {
                    let local = local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                    LinkKind::Vxlan { vni: *vni, port: *port, local }
                }
                SeenKind::Veth { peer, namespace } => {
                    let end = (link.index, *peer, *namespace);
                    let (peer_namespace, peer) = peers.of(&mut self.session, name, end)?;
                    LinkKind::Veth { peer_namespace, peer }
                }
                SeenKind::Other => continue,
            };
            let loopback = kind == LinkKind::Loopback;
            let own = addresses.iter().filter(|a| a.index == link.index && !a.link_local).map(|a| a.address);
            let value = Link {
                kind,
                mac: link.mac.filter(|_| !loopback),
                mtu: if loopback { 0 } else { link.mtu },
                master: links.iter().find(|l| Some(l.index) == link.master).map(|l| l.name.clone()),
                addresses: own.filter(|a| !(loopback && a.addr().is_loopback())).collect(),
                up: link.up,
            };
            seen.links.insert(link.name.clone(), value);
        }
        Ok(())
    }

    fn routing(&mut self, name: &NamespaceName, links: &[Seen], seen: &mut Namespace) -> Result<(), Reason> {
        let names = names_of(self.ours(name, links));
        let socket = &mut self.session.namespace(name)?.route;
        let deliberate = routes::dump(socket, &names)?.into_iter().filter(|route| route.deliberate);
        seen.routes = deliberate.map(|route| route.route).collect();
        if *name != NamespaceName::Host {
            seen.rules = routes::dump_rules(socket)?.into_iter().collect();
        }
        Ok(())
    }

    fn neighbours(
        &mut self,
        name: &NamespaceName,
        links: &[Seen],
        seen: &mut Namespace,
    ) -> Result<(), Reason> {
        let names = names_of(self.ours(name, links));
        let tunnels = names_of(self.ours(name, links).filter(|l| matches!(l.kind, SeenKind::Vxlan { .. })));
        let socket = &mut self.session.namespace(name)?.route;
        seen.neighbours = neighbours::dump(socket, &names)?.into_iter().collect();
        if !tunnels.is_empty() {
            seen.forwarding = neighbours::dump_forwarding(socket, &tunnels)?.into_iter().collect();
        }
        Ok(())
    }

    fn firewall(&mut self, name: &NamespaceName, links: &[Seen], seen: &mut Namespace) -> Result<(), Reason> {
        let table = self.session.host.config.nft_table.clone();
        seen.firewall = firewall::read(&mut self.session.namespace(name)?.filter, &table)?;
        if firewall::isolated_bridges(&seen.firewall).is_empty() {
            return Ok(());
        }
        // A rule that keeps ports apart is there only if it holds for every port.
        let isolated = links::by_port(&mut self.session, name)?;
        seen.firewall.retain(|rule| match rule {
            FirewallRule::Isolate { bridge } => ports_of(links, bridge).all(|port| port.isolated == isolated),
            _ => true,
        });
        Ok(())
    }

    fn sysctls(
        &mut self,
        name: &NamespaceName,
        declared: &Namespace,
        seen: &mut Namespace,
    ) -> Result<(), Reason> {
        if declared.sysctls.is_empty() {
            return Ok(());
        }
        self.session.stand_in(name)?;
        for parameter in declared.sysctls.keys() {
            if let Some(value) = sysctl::read(parameter)? {
                seen.sysctls.insert(parameter.clone(), value);
            }
        }
        Ok(())
    }
}

fn names_of<'l>(links: impl Iterator<Item = &'l Seen>) -> BTreeMap<u32, String> {
    links.map(|link| (link.index, link.name.clone())).collect()
}

fn ports_of<'l>(links: &'l [Seen], bridge: &str) -> impl Iterator<Item = &'l Seen> {
    let bridges: BTreeSet<u32> = links.iter().filter(|l| l.name == bridge).map(|l| l.index).collect();
    links.iter().filter(move |link| link.master.is_some_and(|master| bridges.contains(&master)))
}

fn failed(name: &NamespaceName, what: &str, reason: Reason) -> Error {
    Error::Operation { operation: "observe", subject: what.to_owned(), namespace: name.clone(), reason }
}
