//! What the daemon tells Prometheus, as text (exposition format 0.0.4).
//!
//! Every value is read when it is asked for, from the kernel or from the state; nothing is recorded on the side, so that
//! this needs no metrics library.

mod exposition;

use crate::lvs::{Shown, ShownRealServer, Totals};
use exposition::{Exposition, Kind};
use shoal_model::DeviationKind;
use std::collections::BTreeMap;

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is told.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The program's version.
    pub version: String,
    /// The virtual server.
    pub balancing: Shown,
    /// Differences that the node's loop has found, by kind.
    pub found: BTreeMap<DeviationKind, u64>,
    /// Those among them that a foreign hand made.
    pub foreign: BTreeMap<DeviationKind, u64>,
    /// Passes of the node's loop that compared.
    pub passes: u64,
    /// Passes that could not.
    pub failed_passes: u64,
    /// Seconds spent in them.
    pub pass_seconds: f64,
    /// Whether the kernel holds the node's newest assignment without any difference; absent outside a swarm.
    pub holds: Option<bool>,
    /// The node's tasks by the state that they are reported in.
    pub tasks: BTreeMap<String, u64>,
    /// On managers.
    pub manager: Option<MeasuredManager>,
}

/// What a manager tells besides.
#[derive(Debug, Clone, Default)]
pub struct MeasuredManager {
    /// Whether it leads.
    pub leads: bool,
    /// Index of the newest log entry that it has applied.
    pub log_index: u64,
    /// The swarm's nodes by state.
    pub nodes: BTreeMap<String, u64>,
    /// On the leader, whether each node (by host name) was last heard to hold what it was told.
    pub converged: BTreeMap<String, bool>,
}

/// One of the counters that only grow.
type OfTotals = fn(&Totals) -> u64;

/// The text of all metrics.
pub fn text(measured: &Measured) -> String {
    let mut out = Exposition::default();
    out.family("shoal_build_info", "The running program.", Kind::Gauge);
    let (version, engine) = (&measured.version, &measured.balancing.engine);
    out.sample(&[("version", version), ("engine", engine)], 1);
    balancing(&mut out, &measured.balancing);
    upkeep(&mut out, measured);
    if let Some(manager) = &measured.manager {
        managing(&mut out, manager);
    }
    out.text()
}

fn balancing(out: &mut Exposition, shown: &Shown) {
    let of_totals: [(&str, &str, OfTotals); 6] = [
        ("connections_total", "Connections scheduled to a real server.", |t| t.connections),
        ("resets_total", "Connections reset because the real server went away.", |t| t.resets),
        ("packets_in_total", "Packets from clients; 0 where the engine sees none.", |t| t.packets_in),
        ("packets_out_total", "Packets to clients; 0 where the engine sees none.", |t| t.packets_out),
        ("bytes_in_total", "Bytes from clients; 0 where the engine sees none.", |t| t.bytes_in),
        ("bytes_out_total", "Bytes to clients; 0 where the engine sees none.", |t| t.bytes_out),
    ];
    for (name, help, value) in of_totals {
        each_server(out, (name, help, Kind::Counter), shown, |server| value(&server.totals));
    }
    let active = ("active_connections", "Established connections.", Kind::Gauge);
    each_server(out, active, shown, |server| server.active);
    let inactive = ("inactive_connections", "Known connections that are not established.", Kind::Gauge);
    each_server(out, inactive, shown, |server| server.inactive);
    let weight = ("weight", "Share of new connections; 0 while it drains.", Kind::Gauge);
    each_server(out, weight, shown, |server| u64::from(server.weight));
    out.family("shoal_lvs_drops_total", "Packets that the virtual server dropped.", Kind::Counter);
    let drops = &shown.drops;
    let reasons = [
        ("not_allowed", drops.not_allowed),
        ("table_full", drops.table_full),
        ("clash", drops.clash),
        ("unknown_flow", drops.unknown_flow),
    ];
    for (reason, count) in reasons {
        out.sample(&[("reason", reason)], count);
    }
}

fn each_server(
    out: &mut Exposition,
    (name, help, kind): (&str, &str, Kind),
    shown: &Shown,
    value: impl Fn(&ShownRealServer) -> u64,
) {
    out.family(&format!("shoal_lvs_{name}"), help, kind);
    for service in &shown.services {
        for server in &service.real_servers {
            let labels = [
                ("service", service.service.as_str()),
                ("protocol", service.protocol.as_str()),
                ("address", service.address.as_str()),
                ("task", server.task.as_str()),
                ("real_server", server.address.as_str()),
            ];
            out.sample(&labels, value(server));
        }
    }
}

fn upkeep(out: &mut Exposition, measured: &Measured) {
    let found = "Differences between the kernel and the declared state that were found and repaired.";
    let foreign = "Differences among them that somebody else had made.";
    for (name, help, counts) in [
        ("shoal_node_differences_total", found, &measured.found),
        ("shoal_node_foreign_changes_total", foreign, &measured.foreign),
    ] {
        out.family(name, help, Kind::Counter);
        for kind in DeviationKind::ALL.into_iter().filter(|kind| *kind != DeviationKind::Assignment) {
            out.sample(&[("kind", kind.as_str())], counts.get(&kind).copied().unwrap_or_default());
        }
    }
    out.family(
        "shoal_node_passes_total",
        "Comparisons of the kernel with the declared state.",
        Kind::Counter,
    );
    out.sample(&[("outcome", "compared")], measured.passes);
    out.sample(&[("outcome", "failed")], measured.failed_passes);
    out.family("shoal_node_pass_seconds_total", "Time spent in passes that compared.", Kind::Counter);
    out.sample(&[], measured.pass_seconds);
    if let Some(holds) = measured.holds {
        let help = "Whether the kernel holds what the node was told to, without any difference.";
        out.family("shoal_node_converged", help, Kind::Gauge);
        out.sample(&[], u8::from(holds));
    }
    out.family("shoal_node_tasks", "Tasks of this node by state.", Kind::Gauge);
    for (state, count) in &measured.tasks {
        out.sample(&[("state", state)], *count);
    }
}

fn managing(out: &mut Exposition, manager: &MeasuredManager) {
    out.family("shoal_manager_leader", "Whether this manager leads.", Kind::Gauge);
    out.sample(&[], u8::from(manager.leads));
    out.family("shoal_manager_log_index", "Newest log entry applied.", Kind::Gauge);
    out.sample(&[], manager.log_index);
    out.family("shoal_swarm_nodes", "Nodes of the swarm by state.", Kind::Gauge);
    for (state, count) in &manager.nodes {
        out.sample(&[("state", state)], *count);
    }
    let help = "On the leader: whether the node's kernel holds what it was told to, by its last heartbeat.";
    out.family("shoal_swarm_node_converged", help, Kind::Gauge);
    for (hostname, converged) in &manager.converged {
        out.sample(&[("node", hostname)], u8::from(*converged));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lvs::ShownService;

    #[test]
    fn every_metric_is_told_with_its_labels() {
        let server = ShownRealServer {
            address: "10.0.0.6:80".to_owned(),
            task: "t1".to_owned(),
            name: "whoami.1".to_owned(),
            port: 80,
            forward: "Route".to_owned(),
            weight: 1,
            active: 2,
            inactive: 1,
            totals: Totals { connections: 9, resets: 1, ..Totals::default() },
        };
        let service = ShownService {
            protocol: "TCP".to_owned(),
            address: "*:8000".to_owned(),
            port: 8000,
            service: "whoami".to_owned(),
            scheduler: "rr".to_owned(),
            affinity: None,
            allow: Vec::new(),
            real_servers: vec![server],
        };
        let measured = Measured {
            version: "0.1.0".to_owned(),
            balancing: Shown { engine: "ebpf".to_owned(), services: vec![service], ..Shown::default() },
            found: BTreeMap::from([(DeviationKind::Link, 4)]),
            foreign: BTreeMap::from([(DeviationKind::Route, 1)]),
            passes: 12,
            pass_seconds: 0.25,
            holds: Some(true),
            tasks: BTreeMap::from([("running".to_owned(), 2)]),
            manager: Some(MeasuredManager {
                leads: true,
                log_index: 77,
                nodes: BTreeMap::from([("ready".to_owned(), 3)]),
                converged: BTreeMap::from([("swarm-worker1".to_owned(), false)]),
            }),
            ..Measured::default()
        };
        assert_eq!(text(&measured), include_str!("metrics/example.txt"));
    }
}
