//! Published ports: what a spec may ask for beside what others hold.

use super::AdmitError;
use shoal_model::publishing::Publishing;
use shoal_model::spec::{EndpointMode, EndpointSpec, PortConfig, Protocol, PublishMode, ServiceSpec};
use shoal_model::{Service, ServiceId};
use shoal_store::State;
use std::collections::BTreeSet;

/// Checks of the spec alone.
pub(super) fn check_endpoint(endpoint: &EndpointSpec) -> Result<(), AdmitError> {
    let mut published = BTreeSet::new();
    for port in &endpoint.ports {
        let dnsrr = endpoint.mode == Some(EndpointMode::Dnsrr);
        if dnsrr && port.mode() == PublishMode::Ingress {
            return Err(AdmitError::invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.target_port == 0 {
            return Err(AdmitError::invalid("EndpointSpec: target port must be provided"));
        }
        if port.published_port != 0 && !published.insert(key(port)) {
            return Err(AdmitError::invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}

/// Checks against the other services: a port of the routing mesh belongs to one service, and no task may take it on
/// its node. Host-mode ports of two services may be the same: the scheduler keeps them apart.
pub(super) fn check_conflicts(
    state: &State,
    endpoint: &EndpointSpec,
    but: Option<&ServiceId>,
) -> Result<(), AdmitError> {
    let wanted: Vec<_> = endpoint.ports.iter().filter(|port| port.published_port != 0).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    for other in state.services().values().filter(|other| Some(&other.id) != but) {
        for held in ports_of(other) {
            let clash = wanted.iter().find(|port| key(port) == key(held));
            let Some(port) = clash else { continue };
            let how = match (port.mode(), held.mode()) {
                (PublishMode::Host, PublishMode::Host) => continue,
                (PublishMode::Ingress, PublishMode::Host) => "a host-published port",
                (_, PublishMode::Ingress) => "an ingress port",
            };
            return Err(AdmitError::invalid(format!(
                "port '{}' is already in use by service '{}' ({}) as {how}",
                held.published_port, other.spec.name, other.id
            )));
        }
    }
    Ok(())
}

/// Checks what the labels say of who may use the published ports and where.
pub(super) fn check_publishing(spec: &ServiceSpec) -> Result<(), AdmitError> {
    let ports = spec.endpoint_spec.as_ref().map(|endpoint| endpoint.ports.as_slice()).unwrap_or_default();
    let publishing = Publishing::parse(&spec.labels).and_then(|asked| asked.check(ports));
    publishing.map_err(|error| AdmitError::invalid(error.to_string()))
}

fn ports_of(service: &Service) -> impl Iterator<Item = &PortConfig> {
    let asked = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    asked.chain(&service.endpoint.ports).filter(|port| port.published_port != 0)
}

fn key(port: &PortConfig) -> (Protocol, u16) {
    (port.transport(), port.published_port)
}

/// Whether tasks of the service need an address on the ingress network.
pub(crate) fn publishes_on_the_mesh(endpoint: Option<&EndpointSpec>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.ports.iter().any(|port| port.mode() == PublishMode::Ingress))
}
