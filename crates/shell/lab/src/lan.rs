//! The LAN: a bridge in a namespace of its own, a namespace with `eth0` for every host. Nothing leads out of it; what
//! is sent elsewhere is answered with "network unreachable" by its gateway, so that nobody waits for it.

use crate::place::Place;
use crate::record::{HostRecord, beside};
use anyhow::{Context, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shoal_host::{Host, HostConfig};
use shoal_model::Mac;
use shoal_model::netns::{Link, LinkKind, MAIN_TABLE, NamespaceName, NetOp, Route};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The LAN's own namespace.
pub(crate) const LAN: &str = "lan";
/// A host's link to it.
pub(crate) const UPLINK: &str = "eth0";
const BRIDGE: &str = "lan0";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
const PREFIX: u8 = 24;
const PREFIX6: u8 = 64;
const MTU: u32 = 1500;

/// Opens the lab's namespaces. Only named ones are ever touched, never the machine's main one.
pub(crate) fn open(place: &Place) -> anyhow::Result<Host> {
    let config = HostConfig {
        netns_root: place.namespaces(),
        owner: format!("shoal-lab:{}", place.name),
        nft_table: "shoal-lab".into(),
        host_netns: None,
    };
    Host::open(config).context("cannot prepare the lab's network namespaces")
}

pub(crate) fn apply(host: &Host, ops: &[NetOp]) -> anyhow::Result<()> {
    match host.apply_all(ops).into_iter().next() {
        Some((_, error)) => bail!(error),
        None => Ok(()),
    }
}

/// A machine's Ethernet address: it stays the same over reboots, so that nobody remembers a wrong one.
pub(crate) fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0x4c, a, b, c, d])
}

fn on_lan(address: IpAddr) -> anyhow::Result<IpNet> {
    Ok(IpNet::new(address, if address.is_ipv4() { PREFIX } else { PREFIX6 })?)
}

/// Operations for the bridge.
pub(crate) fn bridge() -> anyhow::Result<Vec<NetOp>> {
    let lan = NamespaceName::Named(LAN.into());
    let link = Link {
        kind: LinkKind::Bridge,
        mac: Some(mac(GATEWAY)),
        mtu: MTU,
        master: None,
        addresses: BTreeSet::from([on_lan(GATEWAY.into())?, on_lan(beside(GATEWAY).into())?]),
        up: true,
    };
    Ok(vec![
        NetOp::CreateNamespace(lan.clone()),
        NetOp::CreateLink { namespace: lan.clone(), name: BRIDGE.into(), link, peer_link: None },
        // Forwarding without a way out is what makes the gateway answer.
        NetOp::SetSysctl { namespace: lan.clone(), name: "net.ipv4.ip_forward".into(), value: "1".into() },
        NetOp::SetSysctl { namespace: lan, name: "net.ipv6.conf.all.forwarding".into(), value: "1".into() },
    ])
}

/// Operations for a host's namespace and its link to the LAN.
pub(crate) fn plug_in(host: &HostRecord) -> anyhow::Result<Vec<NetOp>> {
    let (lan, namespace) = (NamespaceName::Named(LAN.into()), NamespaceName::Named(host.name.clone()));
    let port_name = port(host);
    let uplink = Link {
        kind: LinkKind::Veth { peer_namespace: lan.clone(), peer: port_name.clone() },
        mac: Some(mac(host.address)),
        mtu: MTU,
        master: None,
        addresses: host.addresses().map(on_lan).collect::<Result<_, _>>()?,
        up: true,
    };
    let port = Link {
        kind: LinkKind::Veth { peer_namespace: namespace.clone(), peer: UPLINK.into() },
        mac: None,
        mtu: MTU,
        master: Some(BRIDGE.into()),
        addresses: BTreeSet::new(),
        up: true,
    };
    let default = |gateway: IpAddr| Route {
        destination: if gateway.is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() },
        via: Some(gateway),
        link: UPLINK.into(),
        source: None,
        table: MAIN_TABLE,
    };
    let gateways = [GATEWAY.into()].into_iter().chain(host.address6.map(|_| beside(GATEWAY).into()));
    let mut ops = vec![
        NetOp::CreateNamespace(namespace.clone()),
        NetOp::CreateLink {
            namespace: namespace.clone(),
            name: UPLINK.into(),
            link: uplink,
            peer_link: Some(Box::new(port)),
        },
    ];
    ops.extend(gateways.map(|gateway| NetOp::AddRoute(namespace.clone(), default(gateway))));
    Ok(ops)
}

/// Operations that pull a host's plug.
pub(crate) fn unplug(host: &HostRecord) -> Vec<NetOp> {
    vec![NetOp::RemoveLink { namespace: NamespaceName::Named(LAN.into()), name: port(host) }]
}

/// Operations that drop a host's namespace.
pub(crate) fn dismantle(host: &HostRecord) -> Vec<NetOp> {
    vec![NetOp::RemoveNamespace(NamespaceName::Named(host.name.clone()))]
}

/// The host's port of the bridge.
fn port(host: &HostRecord) -> String {
    format!("port{}", host.address.octets()[3])
}
