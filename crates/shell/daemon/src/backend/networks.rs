//! Networks as this host holds them: its own bridges, and its part of the overlays.

use super::Backend;
use crate::entropy;
use crate::tracing_connections;
use crate::verify;
use crate::view::View;
use crate::virtual_server;
use async_trait::async_trait;
use ipnet::IpNet;
use shoal_agent::names::{DEFAULT_BRIDGE, GATEWAY_BRIDGE};
use shoal_api::backend::Networks;
use shoal_model::assignment::NetworkAssignment;
use shoal_model::netns::{INGRESS_SANDBOX, LinkKind, NamespaceName};
use shoal_model::spec::{PortConfig, Protocol};
use shoal_model::trace::Trace;
use shoal_model::verdict::Verdict;
use shoal_model::{Mac, NetworkId, TaskId, Timestamp};
use shoal_wire::ApiError;
use shoal_wire::lvs::Shown;
use shoal_wire::network::{
    LocalNetwork, NetworkEndpoint, OverlayView, ServiceTaskView, ServiceView, endpoint_id,
};
use std::collections::BTreeMap;

#[async_trait]
impl Networks for Backend {
    fn local_networks(&self) -> Vec<LocalNetwork> {
        let view = self.engine.view.borrow().clone();
        let born = self.born();
        let mut networks = vec![
            plain("none", "null", &self.engine.id, born),
            plain("host", "host", &self.engine.id, born),
            bridge(&view, "bridge", DEFAULT_BRIDGE, &self.engine.id, born),
        ];
        if view.declared.get(&NamespaceName::Host).is_some_and(|h| h.links.contains_key(GATEWAY_BRIDGE)) {
            networks.push(bridge(&view, GATEWAY_BRIDGE, GATEWAY_BRIDGE, &self.engine.id, born));
        }
        networks
    }

    fn overlays(&self) -> Vec<OverlayView> {
        let view = self.engine.view.borrow().clone();
        let here = |n: &&NetworkAssignment| {
            view.namespaces.contains_key(&NamespaceName::Named(n.network.namespace_name()))
        };
        view.assignment.networks.values().filter(here).map(|n| overlay(&view, n)).collect()
    }

    async fn virtual_server(&self, connections: bool) -> Result<Shown, ApiError> {
        let engine = self.engine.clone();
        super::blocking(move || {
            virtual_server::show(&engine, connections)
                .map_err(|e| super::internal(crate::node_loop::chain(&e)))
        })
        .await
    }

    async fn trace(&self, from: &str, to: &str, protocol: Protocol) -> Result<Trace, ApiError> {
        let member = self.swarm.member()?;
        let dispatcher = self.swarm.dispatcher()?;
        let followed =
            tracing_connections::follow(&dispatcher, &member.identity.node, (from, to), protocol).await;
        followed.map_err(ApiError::bad_request)
    }

    async fn verify(&self, quick: bool) -> Result<Verdict, ApiError> {
        let member = self.swarm.member()?;
        match &member.dispatcher {
            Some(dispatcher) => verify::of_cluster(dispatcher, quick).await.map_err(ApiError::unavailable),
            None => Ok(verify::of_worker(&member.own, quick).await),
        }
    }
}

impl Backend {
    /// When this host's own networks were made: with the data root's engine id.
    fn born(&self) -> Timestamp {
        let file = std::fs::metadata(self.engine.config.data_root.join("engine-id"));
        let modified = file.and_then(|f| f.modified()).ok();
        let since = modified.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or_else(entropy::now, |d| Timestamp(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }
}

fn plain(name: &str, driver: &str, engine: &str, created: Timestamp) -> LocalNetwork {
    LocalNetwork {
        name: name.to_owned(),
        id: endpoint_id(engine, name),
        created,
        driver: driver.to_owned(),
        subnets: Vec::new(),
        internal: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        containers: BTreeMap::new(),
    }
}

fn bridge(view: &View, name: &str, link: &str, engine: &str, created: Timestamp) -> LocalNetwork {
    let host = view.namespaces.get(&NamespaceName::Host);
    let addresses = host.and_then(|h| h.links.get(link)).map(|l| l.addresses.clone()).unwrap_or_default();
    let is_default = link == DEFAULT_BRIDGE;
    let key = |suffix: &str| format!("com.docker.network.bridge.{suffix}");
    let mut options = BTreeMap::from([
        (key("enable_icc"), is_default.to_string()),
        (key("enable_ip_masquerade"), "true".to_owned()),
        (key("name"), link.to_owned()),
    ]);
    if is_default {
        options.insert(key("default_bridge"), "true".to_owned());
        options.insert(key("host_binding_ipv4"), "0.0.0.0".to_owned());
        options.insert("com.docker.network.driver.mtu".to_owned(), "1500".to_owned());
    }
    LocalNetwork {
        subnets: addresses.iter().map(|a| (a.trunc(), Some(a.addr()))).collect(),
        options,
        containers: attached(view, link),
        ..plain(name, "bridge", engine, created)
    }
}

/// The sandboxes whose links end at a bridge of the host.
fn attached(view: &View, bridge: &str) -> BTreeMap<String, NetworkEndpoint> {
    let mut found = BTreeMap::new();
    let Some(host) = view.namespaces.get(&NamespaceName::Host) else { return found };
    for port in host.links.values().filter(|l| l.master.as_deref() == Some(bridge)) {
        let LinkKind::Veth { peer_namespace: NamespaceName::Named(sandbox), peer } = &port.kind else {
            continue;
        };
        let name = NamespaceName::Named(sandbox.clone());
        let Some(inner) = view.namespaces.get(&name).and_then(|n| n.links.get(peer)) else { continue };
        let container =
            if sandbox == INGRESS_SANDBOX { "ingress-sbox".to_owned() } else { container_of(view, sandbox) };
        let shown = if sandbox == INGRESS_SANDBOX {
            "gateway_ingress-sbox".to_owned()
        } else {
            format!("gateway_{sandbox}")
        };
        let endpoint = NetworkEndpoint {
            name: shown,
            endpoint_id: endpoint_id(sandbox, bridge),
            mac: inner.mac,
            ipv4: inner.addresses.iter().find(|a| a.addr().is_ipv4()).copied(),
            ipv6: inner.addresses.iter().find(|a| a.addr().is_ipv6()).copied(),
        };
        found.insert(container, endpoint);
    }
    found
}

/// The full id of the container whose sandbox has this name.
fn container_of(view: &View, sandbox: &str) -> String {
    let mut containers = view.observed.containers.values().map(|c| &c.id);
    containers.find(|id| id.starts_with(sandbox)).cloned().unwrap_or_else(|| sandbox.to_owned())
}

fn overlay(view: &View, held: &NetworkAssignment) -> OverlayView {
    let id = &held.network.id;
    let mut containers = BTreeMap::new();
    for (task, assigned) in &view.assignment.tasks {
        let attachment = assigned.attachments.iter().find(|a| &a.network == id);
        let container = view.observed.containers.get(task);
        if let (Some(attachment), Some(container)) = (attachment, container) {
            let mac = Mac::of_endpoint(task.as_str(), id.as_str());
            let shown =
                endpoint(&assigned.container_name, task.as_str(), id, Some(mac), &attachment.addresses);
            containers.insert(container.id.clone(), shown);
        }
    }
    if let (Some(own), Some(facts)) = (&held.own, &view.facts) {
        let name = format!("{}-endpoint", held.network.spec.name);
        let shown = endpoint(&name, facts.node.as_str(), id, Some(own.mac), &own.addresses);
        containers.insert("ingress-sbox".to_owned(), shown);
    }
    OverlayView {
        network: held.network.clone(),
        created: held.network.meta.created_at,
        containers,
        peers: held.peers.iter().map(|(node, address)| (node.as_str()[..12].to_owned(), *address)).collect(),
        services: held
            .services
            .iter()
            .zip(0..)
            .map(|((_, s), n)| (s.name.clone(), service(held, s, n)))
            .collect(),
    }
}

fn endpoint(
    name: &str,
    holder: &str,
    network: &NetworkId,
    mac: Option<Mac>,
    addresses: &[IpNet],
) -> NetworkEndpoint {
    NetworkEndpoint {
        name: name.to_owned(),
        endpoint_id: endpoint_id(holder, network.as_str()),
        mac,
        ipv4: addresses.iter().find(|a| a.addr().is_ipv4()).copied(),
        ipv6: addresses.iter().find(|a| a.addr().is_ipv6()).copied(),
    }
}

/// The first number that Docker gives to a balanced service on a node.
const FIRST_LB_INDEX: u32 = 256;

fn service(
    held: &NetworkAssignment,
    service: &shoal_model::assignment::ServiceOnNetwork,
    index: u32,
) -> ServiceView {
    let port = |p: &PortConfig| format!("Target: {}, Publish: {}", p.target_port, p.published_port);
    let task = |(id, t): (&TaskId, &shoal_model::assignment::TaskOnNetwork)| {
        Some(ServiceTaskView {
            name: t.container_name.clone(),
            endpoint_id: endpoint_id(id.as_str(), held.network.id.as_str()),
            addresses: t.addresses.clone(),
            host: held.endpoints.get(id.as_str()).map(|e| e.tunnel)?,
        })
    };
    ServiceView {
        vips: service.vips.clone(),
        ports: service.ports.iter().map(port).collect(),
        local_lb_index: FIRST_LB_INDEX + index,
        tasks: service.tasks.iter().filter_map(task).collect(),
    }
}
