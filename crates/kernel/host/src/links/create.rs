//! Making, setting and removing links.

use super::{Seen, SeenKind, dump, find};
use crate::addresses;
use crate::netlink::route_request;
use crate::peers;
use crate::session::Session;
use crate::{Reason, sysctl};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth,
    InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use shoal_model::Mac;
use shoal_model::netns::{Link, LinkKind, NamespaceName};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

/// `NLM_F_CREATE | NLM_F_EXCL`.
const CREATE_NEW: u16 = 0x600;
/// Longest name of a link (`IFNAMSIZ` less the final zero).
const NAME_BYTES: usize = 15;

/// Makes the link with all its properties. One that is already there is only given its properties; a different one
/// of that name in Shoal's own namespaces (or with its mark) is in the way and replaced.
pub(crate) fn create(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    name: &str,
    link: &Link,
    peer_link: Option<&Link>,
) -> Result<(), Reason> {
    check_name(name)?;
    if !already_there(session, namespace, name, link)? {
        match &link.kind {
            LinkKind::Loopback => return Err(Reason::NoLink(name.to_owned())),
            LinkKind::Bridge => create_bridge(session, namespace, name, link)?,
            LinkKind::Vxlan { vni, port, local } => {
                create_vxlan(session, namespace, name, link, (*vni, *port, *local))?;
            }
            LinkKind::Veth { peer_namespace, peer } => {
                let one = End { namespace, name, link: Some(link) };
                create_pair(session, one, End { namespace: peer_namespace, name: peer, link: peer_link })?;
            }
        }
    }
    finish(session, namespace, name, link)?;
    if let (LinkKind::Veth { peer_namespace, peer }, Some(peer_link)) = (&link.kind, peer_link) {
        finish(session, peer_namespace, peer, peer_link)?;
    }
    Ok(())
}

/// Whether the link is there as declared. A different one is removed if it is ours.
fn already_there(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    name: &str,
    link: &Link,
) -> Result<bool, Reason> {
    let Some(seen) = find(&mut session.namespace(namespace)?.route, name)? else { return Ok(false) };
    check_owner(session, namespace, &seen)?;
    let same = match (&seen.kind, &link.kind) {
        (SeenKind::Loopback, LinkKind::Loopback) | (SeenKind::Bridge, LinkKind::Bridge) => true,
        (SeenKind::Vxlan { vni, port, local }, LinkKind::Vxlan { vni: v, port: p, local: l }) => {
            vni == v && port == p && *local == Some(*l)
        }
        (SeenKind::Veth { .. }, LinkKind::Veth { peer_namespace, peer }) => {
            peers::is_pair(session, (namespace, &seen), (peer_namespace, peer))?
        }
        _ => false,
    };
    if !same {
        delete(session, namespace, name)?;
    }
    Ok(same)
}

/// In the host's namespace, a link without our mark is not ours to touch.
fn check_owner(session: &Session<'_>, namespace: &NamespaceName, seen: &Seen) -> Result<(), Reason> {
    if *namespace == NamespaceName::Host && seen.alias != session.host.config.owner {
        return Err(Reason::NotOurs(seen.alias.clone()));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Reason> {
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err(Reason::Impossible("a link's name must have 1 to 15 bytes"));
    }
    Ok(())
}

/// What every new link says of itself.
fn describe(name: &str, mac: Option<Mac>, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    if let Some(mac) = mac {
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    if mtu != 0 {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    message
}

fn of_kind(kind: InfoKind, data: InfoData) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)])
}

fn create_bridge(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    name: &str,
    link: &Link,
) -> Result<(), Reason> {
    // Without an address of its own the bridge takes the lowest of its ports', and changes it as they come and go.
    let mac = match link.mac {
        Some(mac) => mac,
        None => random_address()?,
    };
    let data = vec![InfoBridge::StpState(BridgeStpState::Disabled), InfoBridge::MulticastSnooping(false)];
    // A bridge given its size at birth would still take that of its smallest port later on; `finish` sets it.
    let mut message = describe(name, Some(mac), 0);
    message.attributes.push(of_kind(InfoKind::Bridge, InfoData::Bridge(data)));
    new_link(session, namespace, message, (*namespace == NamespaceName::Host).then_some(name))
}

/// A locally administered unicast address from the kernel's random numbers.
fn random_address() -> Result<Mac, Reason> {
    let mut bytes = [0_u8; 6];
    let mut source = std::fs::File::open("/dev/urandom").map_err(Reason::File)?;
    std::io::Read::read_exact(&mut source, &mut bytes).map_err(Reason::File)?;
    bytes[0] = (bytes[0] & 0xfc) | 0x02;
    Ok(Mac(bytes))
}

/// The message goes to the host's namespace, where the device's UDP socket then lives; the device itself is born
/// where it belongs.
fn create_vxlan(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    name: &str,
    link: &Link,
    (vni, port, local): (u32, u16, IpAddr),
) -> Result<(), Reason> {
    let data = vec![
        InfoVxlan::Id(vni),
        match local {
            IpAddr::V4(address) => InfoVxlan::Local(address),
            IpAddr::V6(address) => InfoVxlan::Local6(address),
        },
        InfoVxlan::Learning(false),
        InfoVxlan::Proxy(true),
        InfoVxlan::Port(port),
    ];
    let mut message = describe(name, link.mac, link.mtu);
    message.attributes.push(of_kind(InfoKind::Vxlan, InfoData::Vxlan(data)));
    message.attributes.push(LinkAttribute::NetNsFd(descriptor(session, namespace)?));
    let marked = (*namespace == NamespaceName::Host).then_some(name);
    match new_link(session, &NamespaceName::Host, message, marked) {
        Err(e) if e.errno() == Some(Errno::EEXIST) => Err(Reason::VniInUse { vni, port }),
        result => result,
    }
}

/// One end of a pair that is to be made.
struct End<'a> {
    namespace: &'a NamespaceName,
    name: &'a str,
    link: Option<&'a Link>,
}

impl End<'_> {
    fn describe(&self) -> LinkMessage {
        describe(self.name, self.link.and_then(|l| l.mac), self.link.map_or(0, |l| l.mtu))
    }
}

fn create_pair<'a>(session: &mut Session<'_>, mut one: End<'a>, mut other: End<'a>) -> Result<(), Reason> {
    check_name(other.name)?;
    // A former pair's end may be in the way on the other side.
    if let Some(seen) = find(&mut session.namespace(other.namespace)?.route, other.name)? {
        check_owner(session, other.namespace, &seen)?;
        delete(session, other.namespace, other.name)?;
    }
    // The end in the host's namespace is marked in the same call that makes it.
    if *other.namespace == NamespaceName::Host {
        std::mem::swap(&mut one, &mut other);
    }
    let mut far = other.describe();
    if other.namespace != one.namespace {
        far.attributes.push(LinkAttribute::NetNsFd(descriptor(session, other.namespace)?));
    }
    let mut message = one.describe();
    message.attributes.push(of_kind(InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(far))));
    let in_host = [&one, &other].into_iter().filter(|end| *end.namespace == NamespaceName::Host);
    let marked: Vec<&str> = in_host.map(|end| end.name).collect();
    session.namespace(other.namespace)?.forget_indexes();
    new_link(session, one.namespace, message, marked)
}

fn descriptor(session: &mut Session<'_>, namespace: &NamespaceName) -> Result<RawFd, Reason> {
    Ok(session.namespace(namespace)?.file.as_raw_fd())
}

/// Makes the link and puts our mark on those of these names, in one system call: the kernel takes no mark at birth,
/// and a process killed in between would leave a link that nobody owns.
fn new_link<'n>(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    message: LinkMessage,
    marked: impl IntoIterator<Item = &'n str>,
) -> Result<(), Reason> {
    let owner = session.host.config.owner.clone();
    let mut requests = vec![route_request(&RouteNetlinkMessage::NewLink(message), CREATE_NEW)];
    requests.extend(marked.into_iter().map(|name| {
        let mut mark = LinkMessage::default();
        mark.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::IfAlias(owner.clone())];
        route_request(&RouteNetlinkMessage::SetLink(mark), 0)
    }));
    let entered = session.namespace(namespace)?;
    entered.forget_indexes();
    match entered.route.batch(&requests)?.into_iter().next() {
        Some((_, reason)) => Err(reason.into()),
        None => Ok(()),
    }
}

fn change(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    up: Option<bool>,
    attributes: Vec<LinkAttribute>,
) -> Result<(), Reason> {
    let mut message = LinkMessage::default();
    message.attributes = attributes;
    if let Some(up) = up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    let request = route_request(&RouteNetlinkMessage::SetLink(message), 0);
    session.namespace(namespace)?.route.request(&request)?;
    Ok(())
}

/// Properties that are set after birth, and addresses.
fn finish(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    name: &str,
    link: &Link,
) -> Result<(), Reason> {
    set(session, namespace, name, link)?;
    let entered = session.namespace(namespace)?;
    let index = entered.index_of(name)?;
    let requests: Vec<_> = link.addresses.iter().map(|a| addresses::add(index, *a)).collect();
    match entered.route.batch(&requests)?.into_iter().next() {
        Some((_, reason)) => Err(reason.into()),
        None => Ok(()),
    }
}

/// Gives an existing link its address, size, bridge and state.
pub(crate) fn set(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    name: &str,
    link: &Link,
) -> Result<(), Reason> {
    let seen = find(&mut session.namespace(namespace)?.route, name)?
        .ok_or_else(|| Reason::NoLink(name.to_owned()))?;
    check_owner(session, namespace, &seen)?;
    let mut attributes = vec![LinkAttribute::IfName(name.to_owned())];
    if let Some(mac) = link.mac.filter(|mac| seen.mac != Some(*mac)) {
        attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    if link.mtu != 0 && seen.mtu != link.mtu {
        attributes.push(LinkAttribute::Mtu(link.mtu));
    }
    let master = match &link.master {
        Some(bridge) => Some(session.namespace(namespace)?.index_of(bridge)?),
        None => None,
    };
    if seen.master != master {
        attributes.push(LinkAttribute::Controller(master.unwrap_or(0)));
    }
    if attributes.len() > 1 || seen.up != link.up {
        change(session, namespace, Some(link.up), attributes)?;
    }
    if let Some(bridge) = &link.master {
        let table = session.host.config.nft_table.clone();
        let apart = session.namespace(namespace)?.keeps_apart(&table, bridge)?;
        let wanted = apart && by_port(session, namespace)?;
        // A port forgets its settings when it leaves its bridge.
        let isolated = seen.isolated && seen.master == master;
        if wanted != isolated {
            isolate(session, namespace, name, wanted)?;
        }
    }
    Ok(())
}

/// Whether ports that are to be kept apart have to be isolated one by one. Frames between two ports of a bridge
/// usually never reach the packet filter's `forward` hook, so only the bridge can drop them. But where `br_netfilter`
/// sends frames through the packet filter the rule there drops them, and isolation would do harm: with translation to
/// a container on the same bridge (a host-mode port) the frame stays within the bridge and would be dropped too.
pub(crate) fn by_port(session: &mut Session<'_>, namespace: &NamespaceName) -> Result<bool, Reason> {
    session.stand_in(namespace)?;
    let filters = |name: &str| Ok::<_, Reason>(sysctl::read(name)?.as_deref() == Some("1"));
    Ok(!(filters("net.bridge.bridge-nf-call-iptables")? && filters("net.bridge.bridge-nf-call-ip6tables")?))
}

/// Keeps a bridge's port apart from other such ports, or no longer.
fn isolate(session: &mut Session<'_>, namespace: &NamespaceName, port: &str, on: bool) -> Result<(), Reason> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(port.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(on)])),
        ]),
    ];
    let request = route_request(&RouteNetlinkMessage::NewLink(message), 0);
    session.namespace(namespace)?.route.request(&request)?;
    Ok(())
}

/// Isolates the ports of these bridges, if they have to be (see [`by_port`]), and no others of Shoal's.
pub(crate) fn set_isolated(
    session: &mut Session<'_>,
    namespace: &NamespaceName,
    bridges: &BTreeSet<String>,
) -> Result<(), Reason> {
    let by_port = by_port(session, namespace)?;
    let links = dump(&mut session.namespace(namespace)?.route)?;
    for port in &links {
        let Some(bridge) = links.iter().find(|link| Some(link.index) == port.master) else { continue };
        if check_owner(session, namespace, bridge).is_err() {
            continue;
        }
        let wanted = by_port && bridges.contains(&bridge.name);
        if port.isolated != wanted {
            isolate(session, namespace, &port.name, wanted)?;
        }
    }
    Ok(())
}

/// Removes a link and its other end; an absent one is fine.
pub(crate) fn remove(session: &mut Session<'_>, namespace: &NamespaceName, name: &str) -> Result<(), Reason> {
    let Some(seen) = find(&mut session.namespace(namespace)?.route, name)? else { return Ok(()) };
    check_owner(session, namespace, &seen)?;
    delete(session, namespace, name)
}

fn delete(session: &mut Session<'_>, namespace: &NamespaceName, name: &str) -> Result<(), Reason> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let entered = session.namespace(namespace)?;
    entered.forget_indexes();
    match entered.route.request(&route_request(&RouteNetlinkMessage::DelLink(message), 0)) {
        Err(e) if e.errno() == Some(Errno::ENODEV) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}
