//! What each sandbox resolves, from the declared state.

use crate::{LocalFacts, names, network, template};
use shoal_model::assignment::{NetworkAssignment, ServiceOnNetwork, TaskAssignment};
use shoal_model::dns::Zone;
use shoal_model::{Assignment, NetworkId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the name server of each of the node's sandboxes answers: the zones of all tasks that have not ended.
///
/// On each of the task's networks but ingress: a service's name and its aliases (the virtual address, or the tasks'
/// with DNS round robin), `tasks.<name>` (every task's address), a task's container by its name and its short id; each of
/// them also with `.<network>` behind it. Where two networks know a name, the task's first network counts. Of the task
/// itself also the hostname. Tasks that drain are left out of round robin unless all do.
pub fn zones(assignment: &Assignment, facts: &LocalFacts) -> BTreeMap<TaskId, Zone> {
    let open = assignment.networks.values().filter(|n| !n.network.spec.ingress);
    let networks: BTreeMap<&NetworkId, Names> = open.map(|n| (&n.network.id, Names::of(n))).collect();
    let tasks = assignment.tasks.values().filter(|task| !task.known.is_terminal());
    tasks.map(|task| (task.id.clone(), zone(task, assignment, &networks, facts))).collect()
}

/// The names on one network.
#[derive(Default)]
struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    reverse: BTreeMap<IpAddr, String>,
}

impl Names {
    fn of(network: &NetworkAssignment) -> Self {
        let mut names = Self::default();
        for service in network.services.values() {
            names.add_service(service, &network.network.spec.name);
        }
        for addresses in names.addresses.values_mut() {
            addresses.sort_unstable();
            addresses.dedup();
        }
        names
    }

    fn add_service(&mut self, service: &ServiceOnNetwork, network: &str) {
        let balanced = balanced_addresses(service);
        let own = if service.vips.is_empty() { &balanced } else { &service.vips };
        let aliases: BTreeSet<&String> = service.tasks.values().flat_map(|task| &task.aliases).collect();
        for name in aliases.into_iter().chain([&service.name]) {
            self.add(name, network, own);
            self.add(&format!("tasks.{name}"), network, &balanced);
        }
        for (id, task) in &service.tasks {
            self.add(&task.container_name, network, &task.addresses);
            self.add(&names::short_container_id(id), network, &task.addresses);
            for address in &task.addresses {
                self.reverse.insert(*address, format!("{}.{network}", task.container_name));
            }
        }
        for vip in &service.vips {
            self.reverse.insert(*vip, format!("{}.{network}", service.name));
        }
    }

    /// A name, alone and with the network's name behind it.
    fn add(&mut self, name: &str, network: &str, addresses: &[IpAddr]) {
        for name in [name.to_owned(), format!("{name}.{network}")] {
            self.addresses.entry(name.to_lowercase()).or_default().extend(addresses);
        }
    }
}

/// The addresses of the service's tasks, without those that drain; of all if every one does.
fn balanced_addresses(service: &ServiceOnNetwork) -> Vec<IpAddr> {
    let of =
        |open: bool| service.tasks.values().filter(move |t| t.weight > 0 || !open).flat_map(|t| &t.addresses);
    let open: Vec<IpAddr> = of(true).copied().collect();
    if open.is_empty() { of(false).copied().collect() } else { open }
}

fn zone(
    task: &TaskAssignment,
    assignment: &Assignment,
    networks: &BTreeMap<&NetworkId, Names>,
    facts: &LocalFacts,
) -> Zone {
    let spec = task.spec.container();
    let servers = spec.dns_config.iter().flat_map(|dns| &dns.nameservers);
    let mut zone = Zone {
        forward_to: servers.filter_map(|server| server.parse().ok()).collect(),
        forwards: network::has_way_out(task, assignment),
        ..Zone::default()
    };
    let mut own = BTreeMap::new();
    let hostname = template::fill(&spec.hostname, task, &facts.node, &facts.hostname).to_lowercase();
    for attachment in &task.attachments {
        let Some(known) = networks.get(&attachment.network) else { continue };
        for name in [names::short_container_id(&task.id), hostname.clone()] {
            let addresses = || attachment.addresses.iter().map(ipnet::IpNet::addr).collect();
            own.entry(name).or_insert_with(addresses);
        }
        add_network(&mut zone, known);
    }
    own.remove("");
    zone.names.extend(own);
    zone
}

/// Adds what is known on a network, unless an earlier network knows it.
fn add_network(zone: &mut Zone, known: &Names) {
    if zone.names.is_empty() {
        // Nearly always the only network. There may be thousands of names, and a copy is far faster than insertions.
        zone.names.clone_from(&known.addresses);
        zone.reverse.clone_from(&known.reverse);
        return;
    }
    for (name, addresses) in &known.addresses {
        let held = zone.names.entry(name.clone()).or_default();
        if held.is_empty() {
            held.clone_from(addresses);
        }
    }
    for (address, name) in &known.reverse {
        zone.reverse.entry(*address).or_insert_with(|| name.clone());
    }
}
