//! The virtual server in the form of `ipvsadm -L`, with `-n`, `--stats`, `--rate` and `-c`. Names stand in place of
//! addresses unless numbers are asked for.

use super::{Shown, ShownConnection, ShownRealServer, ShownService, Totals};

/// Column of the first counter in `--stats` and `--rate`.
const COUNTERS_FROM: usize = 34;

/// What each column of `--stats` holds.
const STATS: [&str; 6] = ["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes", "Resets"];
/// What each column of `--rate` holds.
const RATES: [&str; 6] = ["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS", "Resets/s"];

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

fn head(shown: &Shown) -> String {
    format!("IP Virtual Server (shoal, engine {})", shown.engine)
}

fn local(service: &ShownService, numeric: bool) -> String {
    if numeric { service.address.clone() } else { format!("{}:{}", service.service, service.port) }
}

fn remote(server: &ShownRealServer, numeric: bool) -> String {
    if numeric { server.address.clone() } else { format!("{}:{}", server.name, server.port) }
}

/// What is special about a service, as `ipvsadm` shows its flags.
fn flags(service: &ShownService) -> String {
    let affinity = service.affinity.map(|seconds| format!(" persistent {seconds}")).unwrap_or_default();
    let allow =
        if service.allow.is_empty() { String::new() } else { format!(" allow {}", service.allow.join(",")) };
    affinity + &allow
}

/// Services and real servers with weights and connections.
pub fn table(shown: &Shown, numeric: bool) -> String {
    let mut lines = vec![
        head(shown),
        "Prot LocalAddress:Port Scheduler Flags".to_owned(),
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn".to_owned(),
    ];
    for service in &shown.services {
        let (address, flags) = (local(service, numeric), flags(service));
        // Where addresses are shown the name is a comment.
        let name = if numeric { format!(" # {}", service.service) } else { String::new() };
        lines.push(format!("{:<4} {address} {}{flags}{name}", service.protocol, service.scheduler));
        for server in &service.real_servers {
            lines.push(format!(
                "  -> {:<28} {:<7} {:<6} {:<10} {:<10}",
                remote(server, numeric),
                server.forward,
                server.weight,
                server.active,
                server.inactive
            ));
        }
    }
    joined(&lines)
}

/// Totals of services and real servers, and what was dropped.
pub fn stats(shown: &Shown, numeric: bool) -> String {
    let mut lines = counted(shown, numeric, STATS);
    let drops = &shown.drops;
    lines.push(format!(
        "Dropped: {} not allowed, {} table full, {} clash, {} unknown flow",
        drops.not_allowed, drops.table_full, drops.clash, drops.unknown_flow
    ));
    joined(&lines)
}

/// The same columns of what [`rates`](super::rates()) made of two samples.
pub fn per_second(shown: &Shown, numeric: bool) -> String {
    joined(&counted(shown, numeric, RATES))
}

fn counted(shown: &Shown, numeric: bool, columns: [&str; 6]) -> Vec<String> {
    let title = columns.map(|column| format!(" {column:>8}")).concat();
    let mut lines = vec![
        head(shown),
        format!("{:<COUNTERS_FROM$}{title}", "Prot LocalAddress:Port"),
        "  -> RemoteAddress:Port".to_owned(),
    ];
    let row = |head: String, totals: Totals| {
        let Totals { connections, resets, packets_in, packets_out, bytes_in, bytes_out } = totals;
        let counts = [connections, packets_in, packets_out, bytes_in, bytes_out, resets];
        format!("{head:<COUNTERS_FROM$}{}", counts.map(|count| format!(" {:>8}", short(count))).concat())
    };
    for service in &shown.services {
        let sum = service.real_servers.iter().fold(Totals::default(), |sum, s| sum.plus(s.totals));
        lines.push(row(format!("{:<4} {}", service.protocol, local(service, numeric)), sum));
        for server in &service.real_servers {
            lines.push(row(format!("  -> {}", remote(server, numeric)), server.totals));
        }
    }
    lines
}

/// A count in eight characters at most, as `ipvsadm` does: thousands, millions and so on where it is longer.
fn short(count: u64) -> String {
    let mut scaled = count;
    for unit in ["", "K", "M", "G", "T", "P"] {
        if scaled < 10_u64.pow(if unit.is_empty() { 8 } else { 7 }) {
            return format!("{scaled}{unit}");
        }
        scaled /= 1000;
    }
    count.to_string()
}

/// The connections known now.
pub fn connections(shown: &Shown, numeric: bool) -> String {
    let mut lines = vec![
        "IPVS connection entries".to_owned(),
        format!("pro expire {:<11} {:<24} {:<24} destination", "state", "source", "virtual"),
    ];
    for connection in &shown.connections {
        let (asked, real) = if numeric {
            (connection.asked.to_string(), connection.real.to_string())
        } else {
            named(shown, connection)
        };
        lines.push(format!(
            "{:<3} {:<6} {:<11} {:<24} {asked:<24} {real}",
            connection.protocol,
            expiry(connection.expires),
            connection.state,
            connection.client.to_string(),
        ));
    }
    joined(&lines)
}

/// Minutes and seconds; a connection that lasts until it is closed has none.
fn expiry(seconds: u64) -> String {
    if seconds == 0 { "-".to_owned() } else { format!("{:02}:{:02}", seconds / 60, seconds % 60) }
}

fn named(shown: &Shown, connection: &ShownConnection) -> (String, String) {
    let of_task = |s: &&ShownService| s.real_servers.iter().any(|r| r.task == connection.task);
    let service = shown.services.iter().find(of_task).map(|s| s.service.as_str());
    let asked = service.map_or_else(
        || connection.asked.to_string(),
        |service| format!("{service}:{}", connection.asked.port()),
    );
    (asked, format!("{}:{}", connection.name, connection.real.port()))
}

#[cfg(test)]
mod tests {
    use super::super::*;
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

    fn example(connections: u64) -> Shown {
        let east_west = VirtualServiceKey::EastWest {
            network: NetworkId::from_random(1),
            vip: "10.0.1.5".parse().unwrap(),
        };
        let ingress = VirtualServiceKey::Ingress { protocol: Protocol::Tcp, port: 8000 };
        let mut table = Table::default();
        table.services.insert(east_west, service("whoami", "10.0.1.6", 0));
        let mut kept = service("whoami", "10.0.0.6", 80);
        kept.affinity = Some(300);
        kept.access.allow.insert("10.1.0.0/16".parse().unwrap());
        table.services.insert(ingress.clone(), kept);
        let counted = Counters {
            active: 2,
            inactive: 1,
            connections,
            packets_in: 10 * connections,
            bytes_in: 123_456_789,
            resets: 3,
            ..Counters::default()
        };
        let counters = BTreeMap::from([(ingress, BTreeMap::from([(TaskId::from_random(1), counted)]))]);
        let names = BTreeMap::from([(TaskId::from_random(1), "whoami.1".to_owned())]);
        let connection = Connection {
            protocol: Protocol::Tcp,
            client: "192.168.50.100:4567".parse().unwrap(),
            asked: "192.168.50.11:8000".parse().unwrap(),
            real: "10.0.0.6:80".parse().unwrap(),
            task: TaskId::from_random(1),
            state: "ESTABLISHED".to_owned(),
            expires: 899,
        };
        Shown {
            engine: "ebpf".to_owned(),
            services: shown(Sources { table: &table, counters: &counters, names: &names }),
            drops: Drops { not_allowed: 7, ..Drops::default() }.into(),
            connections: shown_connections(vec![connection], &names),
        }
    }

    #[test]
    fn published_ports_come_first_in_ipvsadms_columns() {
        assert_eq!(
            table(&example(9), true),
            "IP Virtual Server (shoal, engine ebpf)\n\
             Prot LocalAddress:Port Scheduler Flags\n\
             \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
             TCP  *:8000 rr persistent 300 allow 10.1.0.0/16 # whoami\n\
             \x20 -> 10.0.0.6:80                  Route   1      2          1\n\
             ANY  10.0.1.5:0 rr # whoami\n\
             \x20 -> 10.0.1.6:0                   Masq    1      0          0\n"
        );
        let named = table(&example(9), false);
        assert!(named.contains("\nTCP  whoami:8000 rr persistent 300"), "{named}");
        assert!(named.contains("\n  -> whoami.1:80                  Route"), "{named}");
    }

    #[test]
    fn totals_are_summed_and_drops_told() {
        assert_eq!(
            stats(&example(9), true),
            "IP Virtual Server (shoal, engine ebpf)\n\
             Prot LocalAddress:Port                Conns   InPkts  OutPkts  InBytes OutBytes   Resets\n\
             \x20 -> RemoteAddress:Port\n\
             TCP  *:8000                               9       90        0  123456K        0        3\n\
             \x20 -> 10.0.0.6:80                          9       90        0  123456K        0        3\n\
             ANY  10.0.1.5:0                           0        0        0        0        0        0\n\
             \x20 -> 10.0.1.6:0                           0        0        0        0        0        0\n\
             Dropped: 7 not allowed, 0 table full, 0 clash, 0 unknown flow\n"
        );
    }

    #[test]
    fn rates_are_the_growth_a_second() {
        let shown = rates(&example(9), example(29), 2000);
        let totals = shown.services[0].real_servers[0].totals;
        assert_eq!((totals.connections, totals.packets_in, totals.bytes_in), (10, 100, 0));
        let restarted = rates(&example(29), example(9), 2000);
        assert_eq!(restarted.services[0].real_servers[0].totals, Totals::default());
        assert!(per_second(&shown, false).contains("TCP  whoami:8000                         10      100"));
    }

    #[test]
    fn connections_are_told_by_name_or_number() {
        let text = connections(&example(9), true);
        let line = "TCP 14:59  ESTABLISHED 192.168.50.100:4567      192.168.50.11:8000       10.0.0.6:80";
        assert_eq!(text.lines().last(), Some(line));
        let text = connections(&example(9), false);
        assert!(text.ends_with(" whoami:8000              whoami.1:80\n"), "{text}");
    }
}
