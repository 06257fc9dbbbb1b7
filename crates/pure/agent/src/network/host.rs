//! Shoal's own things in the host's namespace: the two bridges, forwarding, the packet filter's rules, the way to the
//! ingress network.

use super::bridge::{self, Bridge};
use super::{OutsideAddresses, sysctls};
use crate::LocalFacts;
use crate::task::life;
use shoal_model::assignment::TaskAssignment;
use shoal_model::lvs::Access;
use shoal_model::netns::{FirewallRule, Link, LinkKind, Namespace, NamespaceName, Namespaces};
use shoal_model::publishing::Publishing;
use shoal_model::spec::{PortConfig, Protocol, PublishMode};
use shoal_model::{Assignment, Observed};
use std::collections::BTreeMap;
use std::net::IpAddr;

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
    sysctls::host(&mut host, facts.steers_by_mark);
    host
}

/// Adds the host-mode ports of running containers. If two tasks have the same port (one is on its way out), the wanted
/// one has it.
pub(super) fn add_ports(
    declared: &mut Namespaces,
    assignment: &Assignment,
    observed: &Observed,
    outside: &OutsideAddresses,
    facts: &LocalFacts,
) {
    let running = |task: &&TaskAssignment| life::is_running(&task.id, observed);
    let (wanted, leaving): (Vec<_>, Vec<_>) =
        assignment.tasks.values().filter(running).partition(|task| life::is_wanted(task));
    let mut ports: BTreeMap<(Protocol, u16), Vec<FirewallRule>> = BTreeMap::new();
    for task in wanted.into_iter().chain(leaving) {
        let Some(place) = outside.get(&task.id) else { continue };
        let publishing = Publishing::of_admitted(&task.service_labels);
        for port in task.host_ports.iter().filter(|p| p.mode() == PublishMode::Host && p.published_port != 0)
        {
            let access = publishing.access(port.transport(), port.published_port, &facts.link_addresses);
            ports
                .entry((port.transport(), port.published_port))
                .or_insert_with(|| port_rules(port, place.address.addr(), &access));
        }
    }
    declared.entry(NamespaceName::Host).or_default().firewall.extend(ports.into_values().flatten());
}

/// The rules of one host-mode port: one for each network that is let in and each address that it is published on, and
/// one that closes it to everyone else.
fn port_rules(port: &PortConfig, address: IpAddr, access: &Access) -> Vec<FirewallRule> {
    let (protocol, published) = (port.transport(), port.published_port);
    let places: Vec<Option<IpAddr>> = match &access.addresses {
        None => vec![None],
        Some(addresses) => addresses.iter().copied().map(Some).collect(),
    };
    let mut rules = Vec::new();
    for at in places {
        let open = |client| FirewallRule::HostPort {
            protocol,
            published,
            address,
            target: port.target_port,
            client,
            at,
        };
        if access.allow.is_empty() {
            rules.push(open(None));
        } else {
            rules.extend(access.allow.iter().map(|network| open(Some(*network))));
            rules.push(FirewallRule::ClosedPort { protocol, published, at });
        }
    }
    rules
}
