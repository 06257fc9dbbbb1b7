//! Which virtual service and real server a tracked connection or a counting element belongs to.

use super::tracking::Tracked;
use shoal_model::lvs::{Connection, RealServer, Table, VirtualService, VirtualServiceKey};
use shoal_model::netns::NamespaceName;
use shoal_model::spec::Protocol;
use shoal_model::{NetworkId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The services of one namespace by what its connections ask for.
pub(super) struct Index<'a> {
    node_addresses: BTreeSet<IpAddr>,
    by_vip: BTreeMap<IpAddr, (&'a VirtualServiceKey, &'a VirtualService)>,
    by_port: BTreeMap<(u8, u16), (&'a VirtualServiceKey, &'a VirtualService)>,
}

impl<'a> Index<'a> {
    pub(super) fn new(table: &'a Table, namespace: &NamespaceName) -> Self {
        let none = BTreeSet::new();
        let networks: &BTreeSet<NetworkId> = table.sandboxes.get(namespace).unwrap_or(&none);
        let node_addresses = table.mesh.as_ref().map(|mesh| mesh.node_addresses.clone()).unwrap_or_default();
        let mut index = Self { node_addresses, by_vip: BTreeMap::new(), by_port: BTreeMap::new() };
        for (key, service) in &table.services {
            match key {
                VirtualServiceKey::EastWest { network, vip } if networks.contains(network) => {
                    index.by_vip.insert(*vip, (key, service));
                }
                VirtualServiceKey::Ingress { protocol, port } if *namespace == NamespaceName::Host => {
                    index.by_port.insert((protocol.ip_number(), *port), (key, service));
                }
                _ => {}
            }
        }
        index
    }

    pub(super) fn service(
        &self,
        protocol: u8,
        asked: SocketAddr,
    ) -> Option<(&'a VirtualServiceKey, &'a VirtualService)> {
        let asked_node = asked.ip().is_loopback() || self.node_addresses.contains(&asked.ip());
        let by_port = || self.by_port.get(&(protocol, asked.port())).filter(|_| asked_node);
        self.by_vip.get(&asked.ip()).or_else(by_port).copied()
    }

    /// The service and the task of a connection.
    pub(super) fn owner(&self, tracked: &Tracked) -> Option<(&'a VirtualServiceKey, &'a TaskId)> {
        let (key, service) = self.service(tracked.protocol, tracked.asked)?;
        let server = service.real_servers.iter().find(|server| is_at(server, tracked.real))?;
        Some((key, &server.task))
    }

    /// The connection in the words of the border.
    pub(super) fn describe(&self, tracked: &Tracked) -> Option<Connection> {
        let (_, task) = self.owner(tracked)?;
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        Some(Connection {
            protocol: protocols.into_iter().find(|p| p.ip_number() == tracked.protocol)?,
            client: tracked.client,
            asked: tracked.asked,
            real: tracked.real,
            task: task.clone(),
            state: tracked.state().to_owned(),
            expires: tracked.expires.into(),
        })
    }

    /// Whether the connection is to somebody who is no real server of what was asked for.
    pub(super) fn is_orphan(&self, tracked: &Tracked, given_up: &BTreeSet<IpAddr>) -> bool {
        match self.service(tracked.protocol, tracked.asked) {
            Some((_, service)) => !service.real_servers.iter().any(|server| is_at(server, tracked.real)),
            None => given_up.contains(&tracked.real.ip()),
        }
    }
}

fn is_at(server: &RealServer, at: SocketAddr) -> bool {
    let same = server.address == at.ip() || server.address6.map(IpAddr::V6) == Some(at.ip());
    same && (server.port == 0 || server.port == at.port())
}
