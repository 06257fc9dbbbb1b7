//! The virtual server as programs are told of it; [`text`] prints it as `ipvsadm` does.

mod rate;
mod text;

pub use rate::rates;
pub use text::{connections, per_second, stats, table};

use serde::{Deserialize, Serialize};
use shoal_model::TaskId;
use shoal_model::lvs::{Connection, Counters, Drops, RealServer, Table, VirtualService, VirtualServiceKey};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Live counters by virtual service and task.
pub type LiveCounters = BTreeMap<VirtualServiceKey, BTreeMap<TaskId, Counters>>;

/// What one host's virtual server holds and has done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown {
    /// The engine: `ebpf`, …
    pub engine: String,
    /// The virtual services, published ports first.
    pub services: Vec<ShownService>,
    /// Packets dropped since the engine was set up.
    pub drops: ShownDrops,
    /// The connections known now, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ShownConnection>,
}

/// Packets dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownDrops {
    /// The client was not in the port's allow-list.
    pub not_allowed: u64,
    /// A flow could not be remembered.
    pub table_full: u64,
    /// Two flows of one client could not be told apart at the task.
    pub clash: u64,
    /// An answer or a fragment that belongs to no known flow.
    pub unknown_flow: u64,
}

impl From<Drops> for ShownDrops {
    fn from(drops: Drops) -> Self {
        let Drops { not_allowed, table_full, clash, unknown_flow } = drops;
        Self { not_allowed, table_full, clash, unknown_flow }
    }
}

/// One virtual service, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownService {
    /// `TCP`, `UDP` or `SCTP` for published ports; `ANY` for virtual addresses, which take every port.
    pub protocol: String,
    /// `*:8000` for published ports, the virtual address otherwise.
    pub address: String,
    /// The published port; 0 for virtual addresses.
    pub port: u16,
    /// Its name in the swarm.
    pub service: String,
    /// `rr`, …
    pub scheduler: String,
    /// Seconds for which a client keeps its real server, if it does.
    pub affinity: Option<u32>,
    /// Networks of the clients that are let in; empty lets everyone in.
    pub allow: Vec<String>,
    /// The tasks behind it.
    pub real_servers: Vec<ShownRealServer>,
}

/// One real server, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownRealServer {
    /// Address and port; port 0 keeps the client's.
    pub address: String,
    /// The task.
    pub task: String,
    /// Its name, `<service>.<slot>`; the id where it has none.
    pub name: String,
    /// Its port; 0 keeps the client's.
    pub port: u16,
    /// `Route` where only Ethernet addresses are written, `Masq` where the destination is.
    pub forward: String,
    /// Share of new connections.
    pub weight: u32,
    /// Established connections.
    pub active: u64,
    /// Other known connections.
    pub inactive: u64,
    /// What only grows.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Counters that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Totals {
    /// Connections ever scheduled.
    pub connections: u64,
    /// Connections that were reset because the server went away.
    pub resets: u64,
    /// Packets from clients; 0 where the engine sees none.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl Totals {
    /// These and others.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            resets: self.resets + other.resets,
            packets_in: self.packets_in + other.packets_in,
            packets_out: self.packets_out + other.packets_out,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
        }
    }
}

/// One connection, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownConnection {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Seconds after which it is forgotten when nothing more is seen of it; 0 where it lasts until it is closed.
    pub expires: u64,
    /// `ESTABLISHED`, …
    pub state: String,
    /// Who asks.
    pub client: SocketAddr,
    /// What was asked for.
    pub asked: SocketAddr,
    /// Where it goes.
    pub real: SocketAddr,
    /// The task there.
    pub task: String,
    /// Its name, `<service>.<slot>`; the id where it has none.
    pub name: String,
}

/// What is known for showing the virtual server.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// What it holds.
    pub table: &'a Table,
    /// Live counters.
    pub counters: &'a LiveCounters,
    /// Names of tasks, `<service>.<slot>`.
    pub names: &'a BTreeMap<TaskId, String>,
}

/// The table for programs, published ports first.
pub fn shown(sources: Sources<'_>) -> Vec<ShownService> {
    let is_published = |key: &VirtualServiceKey| matches!(key, VirtualServiceKey::Ingress { .. });
    let mut services: Vec<_> = sources.table.services.iter().collect();
    services.sort_by_key(|(key, _)| !is_published(key));
    services.into_iter().map(|(key, service)| one(key, service, sources)).collect()
}

fn one(key: &VirtualServiceKey, service: &VirtualService, sources: Sources<'_>) -> ShownService {
    let (protocol, address, published, forward) = match key {
        VirtualServiceKey::Ingress { protocol, port } => {
            (protocol.to_string().to_uppercase(), format!("*:{port}"), *port, "Route")
        }
        VirtualServiceKey::EastWest { vip, .. } => ("ANY".to_owned(), at(*vip, 0), 0, "Masq"),
    };
    let counters = sources.counters.get(key);
    let real = |server: &RealServer| {
        let counted = counters.and_then(|c| c.get(&server.task)).copied().unwrap_or_default();
        ShownRealServer {
            address: at(server.address, server.port),
            task: server.task.to_string(),
            name: name_of(&server.task, sources.names),
            port: server.port,
            forward: forward.to_owned(),
            weight: server.weight,
            active: counted.active,
            inactive: counted.inactive,
            totals: totals(counted),
        }
    };
    ShownService {
        protocol,
        address,
        port: published,
        service: service.name.clone(),
        scheduler: service.scheduler.as_str().to_owned(),
        affinity: service.affinity,
        allow: service.access.allow.iter().map(ToString::to_string).collect(),
        real_servers: service.real_servers.iter().map(real).collect(),
    }
}

fn totals(counted: Counters) -> Totals {
    Totals {
        connections: counted.connections,
        resets: counted.resets,
        packets_in: counted.packets_in,
        packets_out: counted.packets_out,
        bytes_in: counted.bytes_in,
        bytes_out: counted.bytes_out,
    }
}

/// Connections for programs.
pub fn shown_connections(
    connections: Vec<Connection>,
    names: &BTreeMap<TaskId, String>,
) -> Vec<ShownConnection> {
    let one = |c: Connection| ShownConnection {
        protocol: c.protocol.to_string().to_uppercase(),
        expires: c.expires,
        state: c.state,
        client: c.client,
        asked: c.asked,
        real: c.real,
        name: name_of(&c.task, names),
        task: c.task.to_string(),
    };
    connections.into_iter().map(one).collect()
}

fn name_of(task: &TaskId, names: &BTreeMap<TaskId, String>) -> String {
    names.get(task).cloned().unwrap_or_else(|| task.to_string())
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}
