//! No address, port, VNI or subnet is given twice.

use super::Broken;
use shoal_model::spec::PublishMode;
use shoal_model::{Assignment, Mac, NodeId};
use shoal_store::State;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;

const NAME: &str = "unique";

struct Given<K>(BTreeMap<K, String>);

impl<K: Ord> Given<K> {
    fn give(&mut self, what: K, kind: &str, to: impl Display) -> Result<(), Broken> {
        let to = to.to_string();
        match self.0.insert(what, to.clone()) {
            Some(other) if other != to => {
                Err(Broken { invariant: NAME, how: format!("{kind} is given to {other} and to {to}") })
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn check_state(state: &State) -> Result<(), Broken> {
    let mut addresses = Given(BTreeMap::new());
    let mut address = |network: &str, ip: IpAddr, to: String| {
        addresses.give((network.to_owned(), ip), &format!("address {ip}"), to)
    };
    for task in state.tasks().values().filter(|task| !task.status.state.is_terminal()) {
        for (network, net) in
            task.attachments.iter().flat_map(|a| a.addresses.iter().map(|net| (&a.network, net)))
        {
            address(network.as_str(), net.addr(), format!("task {}", task.id))?;
        }
    }
    for service in state.services().values() {
        for vip in &service.endpoint.virtual_ips {
            address(vip.network.as_str(), vip.address.addr(), format!("service {}", service.spec.name))?;
        }
    }
    for node in state.nodes().values() {
        for (network, own) in &node.attachments {
            for net in &own.addresses {
                address(network.as_str(), net.addr(), format!("node {}", node.description.hostname))?;
            }
        }
    }
    for network in state.networks().values() {
        for subnet in &network.subnets {
            address(network.id.as_str(), subnet.gateway, format!("the gateway of {}", network.spec.name))?;
        }
    }
    check_ports(state)?;
    check_networks(state)
}

fn check_ports(state: &State) -> Result<(), Broken> {
    let mut ports = Given(BTreeMap::new());
    for service in state.services().values() {
        for port in service.endpoint.ports.iter().filter(|port| port.mode() == PublishMode::Ingress) {
            let key = (port.transport(), port.published_port);
            ports.give(key, &format!("port {}", port.published_port), &service.spec.name)?;
        }
    }
    let mut host_ports = Given(BTreeMap::new());
    for task in state.tasks().values().filter(|task| !task.status.state.is_terminal()) {
        let Some(node) = &task.node else { continue };
        for port in &task.host_ports {
            let key = (node.clone(), port.transport(), port.published_port);
            // A task without a node decided on holds nothing yet.
            if task.status.state >= shoal_model::TaskState::Assigned {
                host_ports.give(key, &format!("host port {}", port.published_port), &task.id)?;
            }
        }
    }
    Ok(())
}

fn check_networks(state: &State) -> Result<(), Broken> {
    let mut vnis = Given(BTreeMap::new());
    let networks: Vec<_> = state.networks().values().filter(|network| network.is_allocated()).collect();
    for (nth, network) in networks.iter().enumerate() {
        vnis.give(network.vni, &format!("VNI {}", network.vni), &network.spec.name)?;
        let earlier = networks[..nth].iter().flat_map(|other| other.subnets.iter().map(move |s| (s, other)));
        for (subnet, other) in earlier {
            let clash = network
                .subnets
                .iter()
                .find(|own| own.subnet.contains(&subnet.subnet) || subnet.subnet.contains(&own.subnet));
            if let Some(own) = clash {
                let (a, b) = (&other.spec.name, &network.spec.name);
                let how = format!("subnet {} of {a} overlaps with {} of {b}", subnet.subnet, own.subnet);
                return Err(Broken { invariant: NAME, how });
            }
        }
    }
    Ok(())
}

/// No two endpoints that a node is told of share an address or a MAC on a network.
pub(super) fn check_assignment(node: &NodeId, assignment: &Assignment) -> Result<(), Broken> {
    for network in assignment.networks.values() {
        let mut addresses: Given<IpAddr> = Given(BTreeMap::new());
        let mut macs: Given<Mac> = Given(BTreeMap::new());
        let vips = network.services.values().flat_map(|s| s.vips.iter().map(|vip| (*vip, &s.name)));
        for (vip, name) in vips {
            addresses.give(vip, &format!("{vip} as told to {node}"), name)?;
        }
        for (holder, endpoint) in &network.endpoints {
            for address in &endpoint.addresses {
                addresses.give(*address, &format!("{address} as told to {node}"), holder)?;
            }
            macs.give(endpoint.mac, &format!("{} as told to {node}", endpoint.mac), holder)?;
        }
    }
    Ok(())
}
