//! What the host's namespace holds that is not Shoal's.

use crate::links::{self, Seen, SeenKind};
use crate::session::Session;
use crate::{Error, Host, Reason, addresses, namespace, routes};
use ipnet::IpNet;
use shoal_model::netns::NamespaceName;
use std::collections::{BTreeMap, BTreeSet};

/// Links, addresses and routes of the host's namespace that are not Shoal's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Links, by index.
    pub interfaces: Vec<Interface>,
    /// Destinations of the routes that do not leave by Shoal's links, default routes left out.
    pub routes: BTreeSet<IpNet>,
}

/// A link of the host that is not Shoal's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Addresses with prefix lengths, link-local ones included.
    pub addresses: Vec<IpNet>,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is `lo`.
    pub loopback: bool,
    /// Whether a default route leaves by it.
    pub has_default_route: bool,
}

impl Host {
    /// Links, addresses and routes of the host's namespace that are not Shoal's own: for choosing pools that collide
    /// with nothing, the uplinks and the node's address.
    pub fn facts(&self) -> Result<HostFacts, Error> {
        let read = || read(&mut Session::new(self));
        namespace::on_fresh_thread(read)?.map_err(|reason| Error::Operation {
            operation: "observe",
            subject: "the host's links and routes".to_owned(),
            namespace: NamespaceName::Host,
            reason,
        })
    }
}

fn read(session: &mut Session<'_>) -> Result<HostFacts, Reason> {
    let owner = session.host.config.owner.clone();
    let socket = &mut session.namespace(&NamespaceName::Host)?.route;
    let links: Vec<_> = links::dump(socket)?.into_iter().filter(|link| link.alias != owner).collect();
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    let addresses = addresses::dump(socket)?;
    let routes = routes::dump(socket, &names)?;
    let interface = |link: &Seen| Interface {
        name: link.name.clone(),
        ifindex: link.index,
        mtu: link.mtu,
        addresses: addresses.iter().filter(|a| a.index == link.index).map(|a| a.address).collect(),
        up: link.up,
        loopback: link.kind == SeenKind::Loopback,
        has_default_route: routes.iter().any(|r| r.index == link.index && is_default(&r.route.destination)),
    };
    let mut interfaces: Vec<Interface> = links.iter().map(interface).collect();
    interfaces.sort_by_key(|interface| interface.ifindex);
    let destinations = routes.iter().map(|r| r.route.destination).filter(|net| !is_default(net));
    Ok(HostFacts { interfaces, routes: destinations.collect() })
}

fn is_default(net: &IpNet) -> bool {
    net.prefix_len() == 0
}
