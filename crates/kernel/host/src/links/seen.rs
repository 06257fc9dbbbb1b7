//! A link as the kernel shows it.

use crate::Reason;
use crate::netlink::{Socket, route_reply, route_request};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use nix::errno::Errno;
use shoal_model::Mac;
use std::net::IpAddr;

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Number of the bridge that it is a port of.
    pub(crate) master: Option<u32>,
    /// Whether its bridge keeps it apart from other such ports.
    pub(crate) isolated: bool,
    pub(crate) kind: SeenKind,
}

/// Kinds of device that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SeenKind {
    Loopback,
    Bridge,
    Vxlan {
        vni: u32,
        port: u16,
        local: Option<IpAddr>,
    },
    Veth {
        /// The other end's number in its namespace.
        peer: u32,
        /// The other end's namespace as a number known here; `None` if it is this one.
        namespace: Option<i32>,
    },
    Other,
}

/// Every link of the socket's namespace.
pub(crate) fn dump(socket: &mut Socket) -> Result<Vec<Seen>, Reason> {
    let request = route_request(&RouteNetlinkMessage::GetLink(LinkMessage::default()), 0);
    Ok(socket.dump(&request)?.iter().filter_map(|reply| read(route_reply(reply)?)).collect())
}

/// The link of that name, if there is one.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Seen>, Reason> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match socket.request(&route_request(&RouteNetlinkMessage::GetLink(message), 0)) {
        Ok(replies) => Ok(replies.iter().find_map(|reply| read(route_reply(reply)?))),
        Err(e) if e.errno() == Some(Errno::ENODEV) => Ok(None),
        Err(reason) => Err(reason.into()),
    }
}

fn read(message: RouteNetlinkMessage) -> Option<Seen> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut seen = Seen {
        index: message.header.index,
        name: String::new(),
        alias: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        isolated: false,
        kind: SeenKind::Other,
    };
    let mut info = Vec::new();
    let (mut lower, mut namespace) = (0, None);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => seen.name = name,
            LinkAttribute::IfAlias(alias) => seen.alias = alias,
            LinkAttribute::Address(bytes) => seen.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => seen.mtu = mtu,
            LinkAttribute::Controller(index) => seen.master = Some(index).filter(|i| *i != 0),
            LinkAttribute::Link(index) => lower = index,
            LinkAttribute::LinkNetNsId(id) => namespace = Some(id),
            LinkAttribute::LinkInfo(list) => info = list,
            _ => {}
        }
    }
    if message.header.flags.contains(LinkFlags::Loopback) {
        seen.kind = SeenKind::Loopback;
    }
    for part in info {
        match part {
            LinkInfo::Kind(InfoKind::Bridge) => seen.kind = SeenKind::Bridge,
            LinkInfo::Kind(InfoKind::Veth) => seen.kind = SeenKind::Veth { peer: lower, namespace },
            LinkInfo::Data(InfoData::Vxlan(data)) => seen.kind = vxlan(&data),
            LinkInfo::PortData(InfoPortData::BridgePort(data)) => {
                seen.isolated = data.contains(&InfoBridgePort::Isolated(true));
            }
            _ => {}
        }
    }
    Some(seen)
}

fn vxlan(data: &[InfoVxlan]) -> SeenKind {
    let (mut vni, mut port, mut local) = (0, 0, None);
    for part in data {
        match part {
            InfoVxlan::Id(id) => vni = *id,
            InfoVxlan::Port(number) => port = *number,
            InfoVxlan::Local(address) => local = Some(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => local = Some(IpAddr::V6(*address)),
            _ => {}
        }
    }
    SeenKind::Vxlan { vni, port, local }
}
