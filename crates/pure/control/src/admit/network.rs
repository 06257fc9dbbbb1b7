//! Overlay networks.

use super::name::check_name;
use super::{AdmitError, Code};
use crate::ids::random_u128;
use ipnet::IpNet;
use rand::RngCore;
use shoal_model::network::{NetworkSpec, SubnetSpec};
use shoal_model::{Meta, Network, NetworkId, TaskState, Timestamp};
use shoal_store::State;

/// A label that marks networks as the swarm's own; not for users.
const INTERNAL_LABEL: &str = "com.docker.swarm.internal";

/// What `--opt encrypted` sends; its value does not matter.
const ENCRYPTED_OPTION: &str = "encrypted";

/// Docker's option for the packet size on the network, in bytes.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";
/// The smallest packet size in bytes that IPv6 works with (RFC 8200, section 5).
const IPV6_MTU_MIN: u32 = 1280;

/// A new network; subnets and VNI come from the allocator. `driver` is as the client sent it; empty means overlay. The
/// caller proposes `Change::Create` with the answer.
pub fn create_network(
    state: &State,
    spec: NetworkSpec,
    driver: &str,
    now: Timestamp,
    rng: &mut dyn RngCore,
) -> Result<Network, AdmitError> {
    if state.networks().values().any(|other| other.spec.name == spec.name) {
        return Err(AdmitError::Plain {
            code: Code::AlreadyExists,
            message: format!("network with name {} already exists", spec.name),
        });
    }
    check_name(&spec.name)?;
    if !matches!(driver, "" | "overlay") {
        return Err(AdmitError::invalid(format!("error during lookup of plugin {driver}")));
    }
    if spec.labels.contains_key(INTERNAL_LABEL) {
        return Err(AdmitError::Refused {
            code: Code::PermissionDenied,
            desc: format!(
                "label {INTERNAL_LABEL} is for predefined internal networks and cannot be applied by users"
            ),
        });
    }
    // To take the option and send in the clear would be worse than to refuse it.
    if spec.options.contains_key(ENCRYPTED_OPTION) {
        return Err(AdmitError::unimplemented("encrypted overlay networks are not built yet"));
    }
    if spec.ingress {
        check_ingress(state, &spec)?;
    }
    check_families(&spec)?;
    for subnet in &spec.subnets {
        check_subnet(subnet)?;
        check_free(state, subnet.subnet)?;
    }
    for (nth, subnet) in spec.subnets.iter().enumerate() {
        if spec.subnets[..nth].iter().any(|other| overlap(other.subnet, subnet.subnet)) {
            return Err(AdmitError::invalid(format!(
                "ipam configuration: subnet {} overlaps with another of the same network",
                subnet.subnet
            )));
        }
    }
    Ok(Network {
        id: NetworkId::from_random(random_u128(rng)),
        meta: Meta::created(0, now),
        spec,
        subnets: Vec::new(),
        vni: 0,
    })
}

fn check_ingress(state: &State, spec: &NetworkSpec) -> Result<(), AdmitError> {
    if let Some(other) = state.ingress_network() {
        return Err(AdmitError::exists(format!("ingress network ({}) is already present", other.id)));
    }
    if spec.attachable {
        return Err(AdmitError::invalid("ingress network cannot be attachable"));
    }
    Ok(())
}

/// A subnet of a family that the network does not have would never be used. (Docker drops it without a word.)
fn check_families(spec: &NetworkSpec) -> Result<(), AdmitError> {
    if !spec.enable_ipv4 && !spec.enable_ipv6 {
        return Err(AdmitError::invalid(
            "IPv4 or IPv6 must be enabled: a network without either has no addresses",
        ));
    }
    let has = |subnet: IpNet| if subnet.addr().is_ipv4() { spec.enable_ipv4 } else { spec.enable_ipv6 };
    let mtu = spec.options.get(MTU_OPTION).and_then(|text| text.parse::<u32>().ok());
    if let Some(mtu) = mtu.filter(|mtu| spec.enable_ipv6 && (1..IPV6_MTU_MIN).contains(mtu)) {
        return Err(AdmitError::invalid(format!(
            "option {MTU_OPTION}={mtu} leaves no room for IPv6, which needs {IPV6_MTU_MIN}"
        )));
    }
    match spec.subnets.iter().find(|wanted| !has(wanted.subnet)) {
        Some(SubnetSpec { subnet, .. }) if subnet.addr().is_ipv4() => Err(AdmitError::invalid(format!(
            "ipam configuration: subnet {subnet} was given, but IPv4 is disabled (--ipv4=false)"
        ))),
        Some(SubnetSpec { subnet, .. }) => Err(AdmitError::invalid(format!(
            "ipam configuration: subnet {subnet} was given, but IPv6 is not enabled (--ipv6)"
        ))),
        None => Ok(()),
    }
}

fn check_subnet(wanted: &SubnetSpec) -> Result<(), AdmitError> {
    let subnet = wanted.subnet;
    if let Some(range) = wanted.range
        && !subnet.contains(&range)
    {
        return Err(AdmitError::invalid(format!(
            "ipam configuration: subnet {subnet} does not contain range {range}"
        )));
    }
    if let Some(gateway) = wanted.gateway
        && !subnet.contains(&gateway)
    {
        return Err(AdmitError::invalid(format!(
            "ipam configuration: subnet {subnet} does not contain gateway {gateway}"
        )));
    }
    Ok(())
}

/// A subnet that is in use elsewhere would cut off whatever uses it. (Docker takes it and lets the network fail later.)
fn check_free(state: &State, subnet: IpNet) -> Result<(), AdmitError> {
    let networks = state.networks().values();
    let of_network = networks.flat_map(|n| {
        let asked = n.spec.subnets.iter().map(|s| s.subnet);
        asked.chain(n.subnets.iter().map(|s| s.subnet)).map(move |s| (s, n))
    });
    if let Some((taken, other)) = of_network.into_iter().find(|(taken, _)| overlap(*taken, subnet)) {
        return Err(AdmitError::precondition(format!(
            "requested subnet {subnet} overlaps with subnet {taken} of network {}",
            other.spec.name
        )));
    }
    let nodes = state.nodes().values();
    let route = nodes.flat_map(|n| n.description.routes.iter().map(move |r| (*r, n)));
    if let Some((route, node)) = route.into_iter().find(|(route, _)| overlap(*route, subnet)) {
        return Err(AdmitError::precondition(format!(
            "requested subnet {subnet} overlaps with route {route} of node {}",
            node.description.hostname
        )));
    }
    Ok(())
}

/// Whether two subnets share an address. A default route overlaps with nothing.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    let is_default = |net: IpNet| net.prefix_len() == 0;
    !is_default(a) && !is_default(b) && (a.contains(&b.network()) || b.contains(&a.network()))
}

/// Whether a network may be removed; the caller proposes `Change::Remove`.
pub fn remove_network(state: &State, id: &NetworkId) -> Result<(), AdmitError> {
    let network = state.networks().get(id);
    let network = network.ok_or_else(|| AdmitError::not_found(format!("network {id} not found")))?;
    let uses = |target: &str| target == id.as_str();
    let attached = state
        .services()
        .values()
        .find(|service| service.spec.attached_networks().iter().any(|a| uses(&a.target)));
    let publishing = state
        .services()
        .values()
        .find(|s| network.spec.ingress && super::ports::publishes_on_the_mesh(s.spec.endpoint_spec.as_ref()));
    if let Some(service) = attached {
        return Err(AdmitError::precondition(format!("network {id} is in use by service {}", service.id)));
    }
    if let Some(service) = publishing {
        return Err(AdmitError::precondition(format!(
            "ingress network cannot be removed because service {} depends on it",
            service.id
        )));
    }
    let task = state.tasks().values().find(|task| {
        task.desired <= TaskState::Running
            && !task.status.state.is_terminal()
            && task.attachments.iter().any(|a| &a.network == id)
    });
    match task {
        Some(task) => Err(AdmitError::precondition(format!("network {id} is in use by task {}", task.id))),
        None => Ok(()),
    }
}
