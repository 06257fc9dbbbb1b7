//! Every connection and exchange of datagrams that is balanced now.

use super::abi::{
    self, Address, FLOW_ANSWERED, FLOW_CLIENT_FIN, FLOW_SERVER_FIN, PROTOCOL_TCP, PROTOCOL_UDP, is_closed,
    text_of,
};
use super::flows::{self, now};
use super::idle::IdleLimits;
use super::map::Maps;
use super::namespace::Places;
use super::sock_diag::{self, Socket};
use crate::Error;
use shoal_model::TaskId;
use shoal_model::lvs::Connection;
use shoal_model::spec::Protocol;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

const NANOSECONDS: u64 = 1_000_000_000;

/// Lists them, sorted.
pub(crate) fn list(maps: &Maps, places: &Places, idle: &IdleLimits) -> Result<Vec<Connection>, Error> {
    let servers = Servers(maps.servers.dump()?.into_iter().collect());
    let mut connections = entering(maps, &servers, idle)?;
    let sockets = sockets_of_sandboxes(maps, places)?;
    connections.extend(at_sockets(maps, &servers, &sockets)?);
    connections.extend(of_datagram_sockets(maps, &servers, &sockets, idle)?);
    connections.sort();
    Ok(connections)
}

/// Real servers by number.
struct Servers(BTreeMap<u32, abi::Server>);

impl Servers {
    /// Where a request for `asked` goes, and the task there, while the server is declared.
    fn real(&self, number: u32, asked: SocketAddr) -> Option<(SocketAddr, TaskId)> {
        let server = self.0.get(&number)?;
        let port = if server.port == 0 { asked.port() } else { u16::from_be(server.port) };
        let task = text_of(&server.task).parse().ok()?;
        Some((SocketAddr::new(IpAddr::from(server.address), port), task))
    }
}

fn endpoint(address: Address, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(address), u16::from_be(port))
}

fn protocol_of(number: u8) -> Option<Protocol> {
    match number {
        PROTOCOL_TCP => Some(Protocol::Tcp),
        PROTOCOL_UDP => Some(Protocol::Udp),
        _ => None,
    }
}

fn entering(maps: &Maps, servers: &Servers, idle: &IdleLimits) -> Result<Vec<Connection>, Error> {
    let now = now()?;
    let flows = flows::entering(maps)?;
    let alive = flows.into_iter().filter_map(|(key, flow)| {
        let left = idle.longest(key.protocol, flow.state).checked_sub(now.saturating_sub(flow.seen))?;
        let asked = endpoint(key.node, key.port);
        let (real, task) = servers.real(flow.server, asked)?;
        Some(Connection {
            protocol: protocol_of(key.protocol)?,
            client: endpoint(key.client, key.client_port),
            asked,
            real,
            task,
            state: word_of_flow(key.protocol, flow.state).to_owned(),
            expires: left / NANOSECONDS,
        })
    });
    Ok(alive.collect())
}

fn word_of_flow(protocol: u8, state: u32) -> &'static str {
    if protocol == PROTOCOL_UDP {
        "UDP"
    } else if is_closed(state) {
        "CLOSE"
    } else if state & (FLOW_CLIENT_FIN | FLOW_SERVER_FIN) != 0 {
        "FIN_WAIT"
    } else if state & FLOW_ANSWERED != 0 {
        "ESTABLISHED"
    } else {
        "SYN_RECV"
    }
}

fn word_of_socket(socket: &Socket) -> &'static str {
    match (socket.protocol, socket.state) {
        (PROTOCOL_UDP, _) => "UDP",
        (_, sock_diag::ESTABLISHED) => "ESTABLISHED",
        (_, sock_diag::SYN_SENT) => "SYN_RECV",
        (_, sock_diag::CLOSE) => "CLOSE",
        _ => "FIN_WAIT",
    }
}

/// Sockets of every balanced namespace, by cookie.
fn sockets_of_sandboxes(maps: &Maps, places: &Places) -> Result<HashMap<u64, Socket>, Error> {
    let balanced: BTreeSet<u64> = maps.sandboxes.dump()?.into_iter().map(|(cookie, _)| cookie).collect();
    let mut sockets = HashMap::new();
    for (_, listed) in places.within_those(&balanced, |_| sock_diag::sockets())? {
        sockets.extend(listed.into_iter().map(|socket| (socket.cookie, socket)));
    }
    Ok(sockets)
}

fn at_sockets(
    maps: &Maps,
    servers: &Servers,
    sockets: &HashMap<u64, Socket>,
) -> Result<Vec<Connection>, Error> {
    let balanced = maps.balanced_sockets.dump()?;
    let open = balanced.into_iter().filter_map(|(cookie, balanced)| {
        let socket = sockets.get(&cookie)?;
        let (_, task) = servers.real(balanced.server, socket.local)?;
        Some(Connection {
            protocol: protocol_of(socket.protocol)?,
            client: socket.local,
            asked: endpoint(balanced.asked, balanced.asked_port),
            real: endpoint(balanced.real, balanced.real_port),
            task,
            state: word_of_socket(socket).to_owned(),
            expires: 0,
        })
    });
    Ok(open.collect())
}

fn of_datagram_sockets(
    maps: &Maps,
    servers: &Servers,
    sockets: &HashMap<u64, Socket>,
    idle: &IdleLimits,
) -> Result<Vec<Connection>, Error> {
    let now = now()?;
    let choices = maps.datagram_choices.dump()?;
    let alive = choices.into_iter().filter_map(|(key, choice)| {
        let socket = sockets.get(&key.socket)?;
        let left = idle.datagram().checked_sub(now.saturating_sub(choice.seen))?;
        let asked = endpoint(key.peer, key.port);
        let (real, task) = servers.real(choice.server, asked)?;
        Some(Connection {
            protocol: Protocol::Udp,
            client: socket.local,
            asked,
            real,
            task,
            state: "UDP".to_owned(),
            expires: left / NANOSECONDS,
        })
    });
    Ok(alive.collect())
}
