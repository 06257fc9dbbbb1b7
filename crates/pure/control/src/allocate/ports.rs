//! Published ports that were left to the swarm.

use shoal_model::Service;
use shoal_model::spec::{PortConfig, PublishMode};
use shoal_store::{Claim, State};
use std::ops::RangeInclusive;

/// Ports for those who named none (swarmkit `dynamicPortStart`, `dynamicPortEnd`).
pub(super) const DYNAMIC: RangeInclusive<u16> = 30000..=32767;

/// The service's ports with their numbers: those it asks for, those it was given before, or free ones. `None` when the
/// dynamic range is used up. Host-mode ports are numbered with each task.
pub(super) fn of_service(state: &State, service: &Service) -> Option<Vec<PortConfig>> {
    let asked = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    let mut ports: Vec<PortConfig> = Vec::new();
    for port in asked {
        let mut port = port.clone();
        if port.published_port == 0 && port.mode() == PublishMode::Ingress {
            port.published_port =
                given_before(service, &port, &ports).or_else(|| free(state, &port, &ports))?;
        }
        ports.push(port);
    }
    Some(ports)
}

fn same_port(a: &PortConfig, b: &PortConfig) -> bool {
    a.transport() == b.transport() && a.published_port == b.published_port && a.mode() == b.mode()
}

fn given_before(service: &Service, port: &PortConfig, taken: &[PortConfig]) -> Option<u16> {
    let before = service.endpoint.ports.iter().find(|held| {
        let alike = held.target_port == port.target_port
            && held.transport() == port.transport()
            && held.mode() == port.mode();
        alike && held.published_port != 0 && !taken.iter().any(|other| same_port(other, held))
    });
    before.map(|held| held.published_port)
}

fn free(state: &State, port: &PortConfig, taken: &[PortConfig]) -> Option<u16> {
    let mut numbers = DYNAMIC;
    numbers.find(|number| {
        let wanted = PortConfig { published_port: *number, ..port.clone() };
        state.holder(&Claim::Port(port.transport(), *number)).is_none()
            && !taken.iter().any(|other| same_port(other, &wanted))
    })
}
