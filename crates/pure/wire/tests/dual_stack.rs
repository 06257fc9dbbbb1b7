//! What is shown of networks with IPv6, beside or instead of IPv4.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use shoal_model::network::{NetworkSpec, Subnet};
use shoal_model::{Meta, Network, NetworkId, Timestamp};
use shoal_wire::json::from_json;
use shoal_wire::network::{NetworkEndpoint, OverlayView, ServiceTaskView, ServiceView, SwarmNetwork};
use shoal_wire::network_body::{CreateRequest, NetworkBody};
use std::collections::BTreeMap;

fn network(ipv4: bool, subnets: &[(&str, &str)]) -> Network {
    let spec =
        NetworkSpec { name: "net".into(), enable_ipv4: ipv4, enable_ipv6: true, ..NetworkSpec::default() };
    let subnet = |(subnet, gateway): &(&str, &str)| Subnet {
        subnet: subnet.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        range: None,
        last: None,
    };
    Network {
        id: NetworkId::from_random(1),
        meta: Meta::default(),
        spec,
        subnets: subnets.iter().map(subnet).collect(),
        vni: 4097,
    }
}

fn dual() -> Network {
    network(true, &[("10.0.1.0/24", "10.0.1.1"), ("fd00:1::/64", "fd00:1::1")])
}

#[test]
fn both_subnets_of_a_network_are_shown() {
    let body = NetworkBody::swarm(&dual()).body;
    assert_eq!((&body["EnableIPv4"], &body["EnableIPv6"]), (&json!(true), &json!(true)));
    let config = json!([
        {"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"},
        {"Subnet": "fd00:1::/64", "Gateway": "fd00:1::1"},
    ]);
    assert_eq!(body["IPAM"]["Config"], config);
    let of_task = serde_json::to_value(SwarmNetwork::from(&dual())).unwrap();
    assert_eq!(of_task["Spec"]["IPv6Enabled"], true);
    assert_eq!(of_task["IPAMOptions"]["Configs"], config);
}

#[test]
fn a_network_of_ipv6_only_says_so() {
    let body = NetworkBody::swarm(&network(false, &[("fd00:1::/64", "fd00:1::1")])).body;
    assert_eq!((&body["EnableIPv4"], &body["EnableIPv6"]), (&json!(false), &json!(true)));
}

#[test]
fn endpoints_show_both_addresses_and_services_the_first() {
    let endpoint = NetworkEndpoint {
        name: "web.1".into(),
        endpoint_id: "e".into(),
        mac: None,
        ipv4: Some("10.0.1.3/24".parse().unwrap()),
        ipv6: Some("fd00:1::3/64".parse().unwrap()),
    };
    let service = ServiceView {
        vips: vec!["10.0.1.2".parse().unwrap(), "fd00:1::2".parse().unwrap()],
        ports: Vec::new(),
        local_lb_index: 256,
        tasks: vec![ServiceTaskView {
            name: "web.1".into(),
            endpoint_id: "e".into(),
            addresses: vec!["fd00:1::3".parse().unwrap()],
            host: "192.168.50.11".parse().unwrap(),
        }],
    };
    let shown = NetworkBody::overlay(&OverlayView {
        network: dual(),
        created: Timestamp(0),
        containers: BTreeMap::from([("c".to_owned(), endpoint)]),
        peers: Vec::new(),
        services: BTreeMap::from([("web".to_owned(), service)]),
    });
    let container = &shown.body["Containers"]["c"];
    assert_eq!(
        (&container["IPv4Address"], &container["IPv6Address"]),
        (&json!("10.0.1.3/24"), &json!("fd00:1::3/64"))
    );
    let services = shown.services.unwrap();
    assert_eq!(services["web"]["VIP"], "10.0.1.2");
    assert_eq!(services["web"]["Tasks"][0]["EndpointIP"], "fd00:1::3");
}

#[test]
fn what_the_docker_command_sends_is_understood() {
    let spec = |families: Value| {
        let mut body = json!({"Name": "net", "Driver": "overlay", "IPAM": {"Driver": "default", "Config": [
            {"Subnet": "10.7.0.0/24"}, {"Subnet": "fd00:7::/64", "Gateway": "fd00:7::ff"}]}});
        body.as_object_mut().unwrap().extend(families.as_object().unwrap().clone());
        let request = from_json::<CreateRequest>(body.to_string().as_bytes()).unwrap();
        request.overlay_spec().unwrap()
    };
    let plain = spec(json!({"EnableIPv4": null, "EnableIPv6": null}));
    assert_eq!((plain.enable_ipv4, plain.enable_ipv6), (true, false));
    let both = spec(json!({"EnableIPv6": true}));
    assert_eq!((both.enable_ipv4, both.enable_ipv6), (true, true));
    assert_eq!(both.subnets[1].gateway, Some("fd00:7::ff".parse().unwrap()));
    let six = spec(json!({"EnableIPv4": false, "EnableIPv6": true}));
    assert_eq!((six.enable_ipv4, six.enable_ipv6), (false, true));
}
