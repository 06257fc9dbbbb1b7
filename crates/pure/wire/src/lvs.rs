//! The virtual-server table as `ipvsadm -Ln` prints it.

use serde::{Deserialize, Serialize};
use shoal_model::TaskId;
use shoal_model::lvs::{Counters, RealServer, Table, VirtualService, VirtualServiceKey};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Live counters by virtual service and task.
pub type LiveCounters = BTreeMap<VirtualServiceKey, BTreeMap<TaskId, Counters>>;

/// One virtual service, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownService {
    /// `TCP`, `UDP` or `SCTP` for published ports; `ANY` for virtual addresses, which take every port.
    pub protocol: String,
    /// `*:8000` for published ports, the virtual address otherwise.
    pub address: String,
    /// Its name in the swarm.
    pub service: String,
    /// `rr`, …
    pub scheduler: String,
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
    /// `Route` where only Ethernet addresses are written, `Masq` where the destination is.
    pub forward: String,
    /// Share of new connections.
    pub weight: u32,
    /// Established connections.
    pub active: u64,
    /// Other known connections.
    pub inactive: u64,
    /// Connections ever scheduled.
    pub connections: u64,
}

/// The table for programs, published ports first.
pub fn shown(table: &Table, counters: &LiveCounters) -> Vec<ShownService> {
    let is_published = |key: &VirtualServiceKey| matches!(key, VirtualServiceKey::Ingress { .. });
    let mut services: Vec<_> = table.services.iter().collect();
    services.sort_by_key(|(key, _)| !is_published(key));
    services.into_iter().map(|(key, service)| one(key, service, counters.get(key))).collect()
}

fn one(
    key: &VirtualServiceKey,
    service: &VirtualService,
    counters: Option<&BTreeMap<TaskId, Counters>>,
) -> ShownService {
    let (protocol, address, forward) = match key {
        VirtualServiceKey::Ingress { protocol, port } => {
            (protocol.to_string().to_uppercase(), format!("*:{port}"), "Route")
        }
        VirtualServiceKey::EastWest { vip, .. } => ("ANY".to_owned(), at(*vip, 0), "Masq"),
    };
    let real = |server: &RealServer| {
        let counted = counters.and_then(|c| c.get(&server.task)).copied().unwrap_or_default();
        ShownRealServer {
            address: at(server.address, server.port),
            task: server.task.to_string(),
            forward: forward.to_owned(),
            weight: server.weight,
            active: counted.active,
            inactive: counted.inactive,
            connections: counted.connections,
        }
    };
    ShownService {
        protocol,
        address,
        service: service.name.clone(),
        scheduler: service.scheduler.as_str().to_owned(),
        real_servers: service.real_servers.iter().map(real).collect(),
    }
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The table as `ipvsadm -Ln` prints it.
pub fn ipvsadm(services: &[ShownService]) -> String {
    let mut lines = vec![
        "IP Virtual Server (shoal)".to_owned(),
        "Prot LocalAddress:Port Scheduler Flags".to_owned(),
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn".to_owned(),
    ];
    for service in services {
        lines.push(format!(
            "{:<4} {} {} # {}",
            service.protocol, service.address, service.scheduler, service.service
        ));
        for server in &service.real_servers {
            lines.push(format!(
                "  -> {:<28} {:<7} {:<6} {:<10} {:<10}",
                server.address, server.forward, server.weight, server.active, server.inactive
            ));
        }
    }
    lines.iter().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::lvs::{Access, Scheduler};
    use shoal_model::spec::Protocol;
    use shoal_model::{Mac, NetworkId};

    fn service(name: &str, address: &str, port: u16) -> VirtualService {
        let real_server = RealServer {
            task: TaskId::from_random(1),
            address: address.parse().unwrap(),
            address6: None,
            mac: Mac::default(),
            port,
            weight: 1,
        };
        VirtualService {
            name: name.to_owned(),
            scheduler: Scheduler::RoundRobin,
            affinity: None,
            access: Access::default(),
            real_servers: vec![real_server],
            ring: vec![0],
        }
    }

    #[test]
    fn published_ports_come_first_in_ipvsadms_columns() {
        let east_west = VirtualServiceKey::EastWest {
            network: NetworkId::from_random(1),
            vip: "10.0.1.5".parse().unwrap(),
        };
        let ingress = VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8000 };
        let mut table = Table::default();
        table.services.insert(east_west, service("whoami", "10.0.1.6", 0));
        table.services.insert(ingress.clone(), service("whoami", "10.0.0.6", 80));
        let counted = Counters { active: 2, inactive: 1, connections: 9, ..Counters::default() };
        let counters = BTreeMap::from([(ingress, BTreeMap::from([(TaskId::from_random(1), counted)]))]);
        assert_eq!(
            ipvsadm(&shown(&table, &counters)),
            "IP Virtual Server (shoal)\n\
             Prot LocalAddress:Port Scheduler Flags\n\
             \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
             TCP  *:8000 rr # whoami\n\
             \x20 -> 10.0.0.6:80                  Route   1      2          1\n\
             ANY  10.0.1.5:0 rr # whoami\n\
             \x20 -> 10.0.1.6:0                   Masq    1      0          0\n"
        );
    }
}
