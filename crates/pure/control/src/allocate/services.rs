//! Virtual addresses and ports of services.

use super::addresses::AddressBooks;
use super::ports;
use crate::admit::publishes_on_the_mesh;
use crate::draft::Draft;
use crate::plan::{AllocationTrouble, Report};
use shoal_model::service::{Endpoint, VirtualIp};
use shoal_model::spec::EndpointMode;
use shoal_model::{NetworkId, Service};
use shoal_store::{Change, State};

pub(super) fn allocate(draft: &mut Draft<'_>, books: &mut AddressBooks) {
    let stale = draft.state().services().values().filter(|service| !is_settled(draft.state(), service));
    let mut stale: Vec<_> = stale.cloned().collect();
    stale.sort_by_key(|service| service.meta.created_at);
    for service in stale {
        match endpoint(draft.state(), &service, books) {
            Ok(endpoint) if endpoint == service.endpoint => {}
            Ok(endpoint) => {
                draft.make(Change::AllocateService { id: service.id.clone(), endpoint });
            }
            Err(report) => draft.report(report),
        }
    }
}

/// The networks that a service has addresses on: the mesh's if it publishes there, then its own.
pub(super) fn networks_of(state: &State, service: &Service) -> Vec<NetworkId> {
    let ingress = state
        .ingress_network()
        .filter(|_| publishes_on_the_mesh(service.spec.endpoint_spec.as_ref()))
        .map(|network| network.id.clone());
    let own = service.spec.attached_networks().iter().filter_map(|a| a.target.parse().ok());
    let mut networks: Vec<NetworkId> = Vec::new();
    for network in ingress.into_iter().chain(own) {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
}

/// Whether what is allocated is what the spec asks for.
fn is_settled(state: &State, service: &Service) -> bool {
    let endpoint = &service.endpoint;
    if endpoint.mode != Some(service.endpoint_mode()) {
        return false;
    }
    let networks = wanted_vips(state, service);
    let has = |network: &NetworkId| endpoint.virtual_ips.iter().any(|vip| &vip.network == network);
    let vips =
        networks.iter().all(has) && endpoint.virtual_ips.iter().all(|vip| networks.contains(&vip.network));
    let asked = service.spec.endpoint_spec.as_ref().map(|e| e.ports.as_slice()).unwrap_or_default();
    let ports = asked.len() == endpoint.ports.len()
        && asked.iter().zip(&endpoint.ports).all(|(asked, given)| {
            let mut numbered = asked.clone();
            if numbered.published_port == 0 {
                numbered.published_port = given.published_port;
            }
            numbered == *given
        });
    vips && ports
}

fn wanted_vips(state: &State, service: &Service) -> Vec<NetworkId> {
    match service.endpoint_mode() {
        EndpointMode::Vip => networks_of(state, service),
        EndpointMode::Dnsrr => Vec::new(),
    }
}

fn endpoint(state: &State, service: &Service, books: &mut AddressBooks) -> Result<Endpoint, Report> {
    let mut virtual_ips = Vec::new();
    for network in wanted_vips(state, service) {
        let held = service.endpoint.virtual_ips.iter().filter(|vip| vip.network == network);
        let before = virtual_ips.len();
        virtual_ips.extend(held.cloned());
        if virtual_ips.len() > before {
            continue;
        }
        let Some(addresses) = books.next(state, &network) else {
            return Err(Report::Network { network, trouble: AllocationTrouble::NoAddress });
        };
        virtual_ips
            .extend(addresses.into_iter().map(|address| VirtualIp { network: network.clone(), address }));
    }
    let ports = ports::of_service(state, service).ok_or_else(|| {
        let network = state.ingress_network().map(|network| network.id.clone());
        let network = network.or_else(|| virtual_ips.first().map(|vip| vip.network.clone()));
        // Only a mesh port is numbered here, and none is admitted without an ingress network.
        network.map_or_else(
            || Report::Update { service: service.id.clone(), message: AllocationTrouble::NoPort.to_string() },
            |network| Report::Network { network, trouble: AllocationTrouble::NoPort },
        )
    })?;
    Ok(Endpoint { mode: Some(service.endpoint_mode()), ports, virtual_ips })
}
