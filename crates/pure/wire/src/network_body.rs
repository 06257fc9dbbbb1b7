//! Networks as Docker shows them, and as clients ask for them.

use crate::ApiError;
use crate::network::{LocalNetwork, NetworkEndpoint, OverlayView, ServiceView};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shoal_model::Network;
use shoal_model::network::{NetworkSpec, SubnetSpec};
use shoal_model::spec::Labels;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The option that holds an overlay's VXLAN network identifiers.
pub const VXLAN_IDS: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// Body of `POST /networks/create`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRequest {
    /// Name.
    pub name: String,
    /// Driver; empty means `bridge`.
    pub driver: String,
    /// `swarm`, `local` or empty.
    pub scope: String,
    /// Whether endpoints get IPv4 addresses; absent means yes.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: Option<bool>,
    /// Whether endpoints get IPv6 addresses; absent means no.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: Option<bool>,
    /// Subnets wanted.
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    /// No way out.
    pub internal: bool,
    /// Containers outside services may attach.
    pub attachable: bool,
    /// The routing mesh runs over it.
    pub ingress: bool,
    /// A template, not a network.
    pub config_only: bool,
    /// The template to use.
    pub config_from: Option<Value>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: Labels,
}

/// Addressing as asked for and as shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// `default` or empty.
    pub driver: String,
    /// Options of the addressing driver.
    pub options: Option<BTreeMap<String, String>>,
    /// Subnets.
    pub config: Vec<IpamConfig>,
}

/// One subnet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamConfig {
    /// The subnet.
    #[serde(rename = "Subnet", skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// Addresses are handed out from this part only.
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    /// The gateway.
    #[serde(rename = "Gateway", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses kept free.
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

impl CreateRequest {
    /// The request for an overlay network with its addresses parsed.
    pub fn overlay_spec(self) -> Result<NetworkSpec, ApiError> {
        let ipam = self.ipam.unwrap_or_default();
        if !matches!(ipam.driver.as_str(), "" | "default") {
            return Err(ApiError::not_implemented(format!(
                "IPAM driver {} is not built into Shoal",
                ipam.driver
            )));
        }
        let subnets = ipam.config.iter().filter(|config| **config != IpamConfig::default());
        Ok(NetworkSpec {
            name: self.name,
            labels: self.labels,
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            enable_ipv4: self.enable_ipv4.unwrap_or(true),
            enable_ipv6: self.enable_ipv6.unwrap_or(false),
            subnets: subnets.map(subnet).collect::<Result<_, _>>()?,
            options: self.options,
        })
    }
}

fn subnet(config: &IpamConfig) -> Result<SubnetSpec, ApiError> {
    let cidr = |what: &str, text: &str| -> Result<IpNet, ApiError> {
        text.parse()
            .map_err(|_| ApiError::bad_request(format!("invalid {what} {text}: invalid CIDR block notation")))
    };
    let present = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let gateway = present(&config.gateway)
        .map(|text| {
            text.parse()
                .map_err(|_| ApiError::bad_request(format!("invalid gateway {text}: not an IP address")))
        })
        .transpose()?;
    let range = present(&config.ip_range).map(|text| cidr("ip-range", &text)).transpose()?;
    Ok(SubnetSpec { subnet: cidr("subnet", &config.subnet)?.trunc(), gateway, range })
}

/// What lists, look-ups and filters need of a network, and its body.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkBody {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// `swarm` or `local`.
    pub scope: &'static str,
    /// Labels.
    pub labels: Labels,
    /// Whether it is one of the networks that every host has.
    pub predefined: bool,
    /// Whether nothing uses it on this host.
    pub unused: bool,
    /// The body without what only an inspection shows.
    pub body: Value,
    /// Services by name, shown with `verbose`.
    pub services: Option<Value>,
}

impl NetworkBody {
    /// The body with `Services`, where they are known.
    pub fn verbose(mut self) -> Value {
        if let (Some(services), Some(map)) = (self.services, self.body.as_object_mut()) {
            map.insert("Services".to_owned(), services);
        }
        self.body
    }

    /// A network of this host.
    pub fn local(network: &LocalNetwork) -> Self {
        let config: Vec<Value> = network
            .subnets
            .iter()
            .map(|(subnet, gateway)| match gateway {
                Some(gateway) => json!({"Subnet": subnet.to_string(), "Gateway": gateway.to_string()}),
                None => json!({"Subnet": subnet.to_string()}),
            })
            .collect();
        let body = json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created,
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": true,
            "EnableIPv6": network.subnets.iter().any(|(subnet, _)| subnet.addr().is_ipv6()),
            "IPAM": {"Driver": "default", "Options": null, "Config": config},
            "Internal": network.internal,
            "Attachable": false,
            "Ingress": false,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": false,
            "Containers": endpoints(&network.containers),
            "Options": network.options,
            "Labels": network.labels,
        });
        Self {
            id: network.id.clone(),
            name: network.name.clone(),
            driver: network.driver.clone(),
            scope: "local",
            labels: network.labels.clone(),
            predefined: true,
            unused: network.containers.is_empty(),
            body,
            services: None,
        }
    }

    /// An overlay as this node holds it.
    pub fn overlay(view: &OverlayView) -> Self {
        let mut shown = Self::swarm(&view.network);
        shown.unused = view.containers.is_empty();
        shown.services = Some(services(&view.services));
        if let Some(map) = shown.body.as_object_mut() {
            map.insert("Created".to_owned(), json!(view.created));
            map.insert("Containers".to_owned(), endpoints(&view.containers));
            map.insert("Labels".to_owned(), json!(view.network.spec.labels));
            let peers: Vec<Value> =
                view.peers.iter().map(|(name, ip)| json!({"Name": name, "IP": ip.to_string()})).collect();
            if !peers.is_empty() {
                map.insert("Peers".to_owned(), Value::Array(peers));
            }
        }
        shown
    }

    /// An overlay as the managers know it.
    pub fn swarm(network: &Network) -> Self {
        let spec = &network.spec;
        let labels = if spec.labels.is_empty() { Value::Null } else { json!(spec.labels) };
        let body = json!({
            "Name": spec.name,
            "Id": network.id,
            "Created": network.meta.created_at,
            "Scope": "swarm",
            "Driver": "overlay",
            "EnableIPv4": spec.enable_ipv4,
            "EnableIPv6": spec.enable_ipv6,
            "IPAM": {"Driver": "default", "Options": null, "Config": subnets(network)},
            "Internal": spec.internal,
            "Attachable": spec.attachable,
            "Ingress": spec.ingress,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": false,
            "Containers": null,
            "Options": driver_options(network),
            "Labels": labels,
        });
        Self {
            id: network.id.to_string(),
            name: spec.name.clone(),
            driver: "overlay".to_owned(),
            scope: "swarm",
            labels: spec.labels.clone(),
            predefined: false,
            unused: true,
            body,
            services: None,
        }
    }
}

/// Options of an overlay as its driver shows them.
pub(crate) fn driver_options(network: &Network) -> BTreeMap<String, String> {
    let mut options = network.spec.options.clone();
    if network.vni != 0 {
        options.insert(VXLAN_IDS.to_owned(), network.vni.to_string());
    }
    options
}

fn subnets(network: &Network) -> Vec<IpamConfig> {
    let shown = network.subnets.iter().map(|subnet| IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.to_string(),
        ..IpamConfig::default()
    });
    shown.collect()
}

fn endpoints(containers: &BTreeMap<String, NetworkEndpoint>) -> Value {
    let text = |net: &Option<IpNet>| net.map(|n| n.to_string()).unwrap_or_default();
    let shown = containers.iter().map(|(id, endpoint)| {
        let body = json!({
            "Name": endpoint.name,
            "EndpointID": endpoint.endpoint_id,
            "MacAddress": endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            "IPv4Address": text(&endpoint.ipv4),
            "IPv6Address": text(&endpoint.ipv6),
        });
        (id.clone(), body)
    });
    Value::Object(shown.collect())
}

/// Docker shows one address where there may be two: the IPv4 one if there is one. Empty without any.
fn first(addresses: &[IpAddr]) -> String {
    addresses.first().map(ToString::to_string).unwrap_or_default()
}

fn services(services: &BTreeMap<String, ServiceView>) -> Value {
    let shown = services.iter().map(|(name, service)| {
        let tasks: Vec<Value> = service
            .tasks
            .iter()
            .map(|task| {
                json!({
                    "Name": task.name,
                    "EndpointID": task.endpoint_id,
                    "EndpointIP": first(&task.addresses),
                    "Info": {"Host IP": task.host.to_string()},
                })
            })
            .collect();
        let body = json!({
            "VIP": first(&service.vips),
            "Ports": service.ports,
            "LocalLBIndex": service.local_lb_index,
            "Tasks": tasks,
        });
        (name.clone(), body)
    });
    Value::Object(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::from_json;

    #[test]
    fn what_the_docker_command_sends_becomes_a_spec() {
        let body = br#"{"Driver":"overlay","Scope":"","IPAM":{"Driver":"default","Options":{},"Config":
            [{"Subnet":"10.7.0.9/24","IPRange":"10.7.0.128/25","Gateway":"10.7.0.254"}]},"Internal":false,
            "Attachable":true,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{"encrypted":""},
            "Labels":{"a":"b"},"Name":"net"}"#;
        let spec = from_json::<CreateRequest>(body).unwrap().overlay_spec().unwrap();
        assert_eq!(spec.subnets[0].subnet.to_string(), "10.7.0.0/24");
        assert_eq!(spec.subnets[0].gateway.unwrap().to_string(), "10.7.0.254");
        assert!(spec.attachable && spec.options.contains_key("encrypted"));
    }

    #[test]
    fn stacks_send_no_addressing_at_all() {
        let spec = from_json::<CreateRequest>(br#"{"Name":"n","Driver":"overlay","IPAM":null}"#).unwrap();
        assert!(spec.overlay_spec().unwrap().subnets.is_empty());
    }

    #[test]
    fn bad_addresses_are_refused() {
        let ask = |config: &str| {
            let body = format!(r#"{{"Name":"n","IPAM":{{"Config":[{config}]}}}}"#);
            from_json::<CreateRequest>(body.as_bytes()).unwrap().overlay_spec().unwrap_err()
        };
        assert_eq!(ask(r#"{"Subnet":"x"}"#).message, "invalid subnet x: invalid CIDR block notation");
        assert_eq!(ask(r#"{"Subnet":"10.0.0.0/24","Gateway":"y"}"#).status.code(), 400);
    }
}
