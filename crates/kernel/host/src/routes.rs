//! Routes and policy-routing rules.

use crate::Reason;
use crate::addresses::family;
use crate::netlink::{Request, Socket, route_reply, route_request};
use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use shoal_model::netns::{Route, Rule};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `NLM_F_CREATE | NLM_F_REPLACE`.
const CREATE_OR_REPLACE: u16 = 0x500;
/// `NLM_F_CREATE | NLM_F_EXCL`.
const CREATE_NEW: u16 = 0x600;
/// The table of addresses that are the namespace's own.
const LOCAL_TABLE: u32 = 255;
/// Priorities of the three rules that every namespace is born with.
const BORN_RULES: [u32; 3] = [0, 32766, 32767];

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.addr());
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.kind = RouteType::Unicast;
    let destination = route.destination.network();
    message.attributes = vec![RouteAttribute::Table(route.table), RouteAttribute::Oif(index)];
    if route.destination.prefix_len() != 0 {
        message.attributes.push(RouteAttribute::Destination(destination.into()));
    }
    match route.via {
        Some(via) if via.is_ipv4() == destination.is_ipv4() => {
            message.attributes.push(RouteAttribute::Gateway(via.into()));
        }
        Some(IpAddr::V4(via)) => message.attributes.push(RouteAttribute::Via(RouteVia::Inet(via))),
        Some(IpAddr::V6(via)) => message.attributes.push(RouteAttribute::Via(RouteVia::Inet6(via))),
        None => {}
    }
    if let Some(source) = route.source {
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    message
}

pub(crate) fn add(index: u32, route: &Route) -> Request {
    let mut message = route_message(index, route);
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    route_request(&RouteNetlinkMessage::NewRoute(message), CREATE_OR_REPLACE)
}

pub(crate) fn remove(index: u32, route: &Route) -> Request {
    let mut message = route_message(index, route);
    // "Nowhere" lets the kernel compare all but the scope.
    message.header.scope = RouteScope::NoWhere;
    route_request(&RouteNetlinkMessage::DelRoute(message), 0)
}

/// A route that the kernel shows.
#[derive(Debug, Clone)]
pub(crate) struct SeenRoute {
    pub(crate) route: Route,
    /// Number of the outgoing link.
    pub(crate) index: u32,
    /// Whether somebody asked for it, rather than the kernel or a router making it.
    pub(crate) deliberate: bool,
}

/// Every route of the namespace to other hosts. Routes over links that are not in `names` are left out.
pub(crate) fn dump(socket: &mut Socket, names: &BTreeMap<u32, String>) -> Result<Vec<SeenRoute>, Reason> {
    let request = route_request(&RouteNetlinkMessage::GetRoute(RouteMessage::default()), 0);
    Ok(socket.dump(&request)?.iter().filter_map(|reply| read_route(route_reply(reply)?, names)).collect())
}

fn read_route(message: RouteNetlinkMessage, names: &BTreeMap<u32, String>) -> Option<SeenRoute> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    let nowhere = unspecified(header.address_family)?;
    let cached = header.flags.contains(RouteFlags::Cloned);
    if header.kind != RouteType::Unicast || cached || header.source_prefix_length != 0 {
        return None;
    }
    let (mut destination, mut via, mut source) = (nowhere, None, None);
    let (mut table, mut index) = (u32::from(header.table), None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = plain(address)?,
            RouteAttribute::Gateway(address) => via = plain(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => via = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => via = Some(IpAddr::V6(*address)),
            RouteAttribute::PrefSource(address) => source = plain(address),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(number) => index = Some(*number),
            _ => {}
        }
    }
    if table == LOCAL_TABLE {
        return None;
    }
    let index = index?;
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let by_itself = [RouteProtocol::Kernel, RouteProtocol::Ra, RouteProtocol::IcmpRedirect];
    Some(SeenRoute {
        route: Route { destination, via, link: names.get(&index)?.clone(), source, table },
        index,
        deliberate: !by_itself.contains(&header.protocol),
    })
}

fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.from.addr());
    message.header.src_len = rule.from.prefix_len();
    message.header.table = u8::try_from(rule.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![RuleAttribute::Table(rule.table), RuleAttribute::Priority(rule.priority)];
    if let Some(mark) = rule.mark {
        message.attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(u32::MAX)]);
    }
    if rule.from.prefix_len() != 0 {
        message.attributes.push(RuleAttribute::Source(rule.from.network()));
    }
    message
}

pub(crate) fn add_rule(rule: &Rule) -> Request {
    route_request(&RouteNetlinkMessage::NewRule(rule_message(rule)), CREATE_NEW)
}

pub(crate) fn remove_rule(rule: &Rule) -> Request {
    route_request(&RouteNetlinkMessage::DelRule(rule_message(rule)), 0)
}

/// Every rule of the socket's namespace that chooses a table, beyond the three that it was born with.
pub(crate) fn dump_rules(socket: &mut Socket) -> Result<Vec<Rule>, Reason> {
    let request = route_request(&RouteNetlinkMessage::GetRule(RuleMessage::default()), 0);
    Ok(socket.dump(&request)?.iter().filter_map(|reply| read_rule(route_reply(reply)?)).collect())
}

fn read_rule(message: RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    if message.header.action != RuleAction::ToTable {
        return None;
    }
    let mut from = unspecified(message.header.family)?;
    let (mut table, mut priority, mut mark) = (u32::from(message.header.table), 0, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => from = *address,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::FwMark(number) => mark = Some(*number),
            _ => {}
        }
    }
    if BORN_RULES.contains(&priority) && message.header.src_len == 0 {
        return None;
    }
    Some(Rule { from: IpNet::new(from, message.header.src_len).ok()?, mark, table, priority })
}
