//! Shoal's own things in the host's namespace: the two bridges, forwarding, the packet filter's rules, the way to the
//! ingress network.

use super::bridge::{self, Bridge};
use super::{OutsideAddresses, sysctls};
use crate::LocalFacts;
use crate::task::life;
use shoal_model::assignment::TaskAssignment;
use shoal_model::netns::{FirewallRule, Link, LinkKind, Namespace, NamespaceName, Namespaces};
use shoal_model::spec::{Protocol, PublishMode};
use shoal_model::{Assignment, Observed};
use std::collections::BTreeMap;

/// What is there whatever the assignment.
pub(super) fn base(facts: &LocalFacts) -> Namespace {
    let mut host = Namespace::default();
    for bridge in Bridge::ALL {
        let address = bridge.address(facts);
        let link = Link {
            kind: LinkKind::Bridge,
            // Fixed, or it would change with the ports and the sandboxes' neighbour tables would be wrong.
            mac: address.map(|a| bridge::mac(a, bridge.name())),
            mtu: bridge::mtu(facts),
            master: None,
            addresses: address.into_iter().collect(),
            up: true,
        };
        host.links.insert(bridge.name().to_owned(), link);
        let (source, name) = (bridge.subnet(facts), bridge.name().to_owned());
        host.firewall.push(FirewallRule::Masquerade { source, bridge: name });
    }
    host.firewall.push(FirewallRule::Isolate { bridge: Bridge::Gateway.name().to_owned() });
    sysctls::host(&mut host);
    host
}

/// Adds the host-mode ports of running containers. If two tasks have the same port (one is on its way out), the wanted
/// one has it.
pub(super) fn add_ports(
    declared: &mut Namespaces,
    assignment: &Assignment,
    observed: &Observed,
    outside: &OutsideAddresses,
) {
    let running = |task: &&TaskAssignment| life::is_running(&task.id, observed);
    let (wanted, leaving): (Vec<_>, Vec<_>) =
        assignment.tasks.values().filter(running).partition(|task| life::is_wanted(task));
    let mut ports: BTreeMap<(Protocol, u16), FirewallRule> = BTreeMap::new();
    for task in wanted.into_iter().chain(leaving) {
        let Some(place) = outside.get(&task.id) else { continue };
        for port in task.host_ports.iter().filter(|p| p.mode() == PublishMode::Host && p.published_port != 0)
        {
            ports.entry((port.transport(), port.published_port)).or_insert(FirewallRule::HostPort {
                protocol: port.transport(),
                published: port.published_port,
                address: place.address.addr(),
                target: port.target_port,
            });
        }
    }
    declared.entry(NamespaceName::Host).or_default().firewall.extend(ports.into_values());
}
