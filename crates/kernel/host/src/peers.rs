//! Which two links are the ends of one pair. The kernel names the other end by its number and by a number for its
//! namespace that only the asking namespace knows.

use crate::Reason;
use crate::links::{Seen, SeenKind, find};
use crate::netlink::{Socket, route_reply, route_request};
use crate::session::Session;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use shoal_model::netns::NamespaceName;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;

/// The number by which the socket's namespace knows the other one; `None` if it does not know it.
fn known_as(socket: &mut Socket, namespace: &File) -> Result<Option<i32>, Reason> {
    let mut message = NsidMessage::default();
    // Descriptors are not negative.
    message.attributes.push(NsidAttribute::Fd(namespace.as_raw_fd().cast_unsigned()));
    let replies = socket.request(&route_request(&RouteNetlinkMessage::GetNsId(message), 0))?;
    Ok(replies.iter().find_map(|reply| match route_reply(reply)? {
        RouteNetlinkMessage::NewNsId(message) => {
            message.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                _ => None,
            })
        }
        _ => None,
    }))
}

/// Whether this link and the one of that name in that namespace are the ends of one pair.
pub(crate) fn is_pair(
    session: &mut Session<'_>,
    (namespace, one): (&NamespaceName, &Seen),
    (other_namespace, other): (&NamespaceName, &str),
) -> Result<bool, Reason> {
    let SeenKind::Veth { peer, namespace: id } = one.kind else { return Ok(false) };
    let found = find(&mut session.namespace(other_namespace)?.route, other)?;
    let Some(other) = found.filter(|other| other.index == peer) else { return Ok(false) };
    let points_back = matches!(other.kind, SeenKind::Veth { peer, .. } if peer == one.index);
    if !points_back {
        return Ok(false);
    }
    match id {
        None => Ok(namespace == other_namespace),
        Some(id) => {
            let file = session.namespace(other_namespace)?.file.try_clone().map_err(Reason::NoNamespace)?;
            Ok(known_as(&mut session.namespace(namespace)?.route, &file)? == Some(id))
        }
    }
}

/// Finds the other ends of all pairs of a set of namespaces.
pub(crate) struct Peers<'l> {
    links: &'l BTreeMap<NamespaceName, Vec<Seen>>,
    /// (own number, peer's number) of every pair's end: where such ends are.
    ends: BTreeMap<(u32, u32), Vec<(&'l NamespaceName, &'l str)>>,
    /// What is already known of numbers for namespaces: (asking, number) -> namespace.
    known: BTreeMap<(&'l NamespaceName, i32), &'l NamespaceName>,
}

impl<'l> Peers<'l> {
    pub(crate) fn new(links: &'l BTreeMap<NamespaceName, Vec<Seen>>) -> Self {
        let mut ends: BTreeMap<(u32, u32), Vec<(&NamespaceName, &str)>> = BTreeMap::new();
        for (namespace, list) in links {
            for link in list {
                if let SeenKind::Veth { peer, .. } = link.kind {
                    ends.entry((link.index, peer)).or_default().push((namespace, link.name.as_str()));
                }
            }
        }
        Self { links, ends, known: BTreeMap::new() }
    }

    /// Where the other end of this link is. One in a namespace that is not looked at gets a name that cannot be
    /// declared.
    pub(crate) fn of(
        &mut self,
        session: &mut Session<'_>,
        namespace: &'l NamespaceName,
        (index, peer, id): (u32, u32, Option<i32>),
    ) -> Result<(NamespaceName, String), Reason> {
        // Numbers of links repeat from namespace to namespace, so these are only candidates.
        let candidates = self.ends.get(&(peer, index)).cloned().unwrap_or_default();
        let found = match id {
            None => self.links.contains_key(namespace).then_some(namespace),
            Some(id) => self.resolve(session, namespace, id, candidates.iter().map(|(place, _)| *place))?,
        };
        let end = found.and_then(|place| candidates.iter().find(|(other, _)| *other == place));
        Ok(match (end, id) {
            (Some((place, name)), _) => ((*place).clone(), (*name).to_owned()),
            (None, Some(id)) => (NamespaceName::Named(format!("nsid:{id}")), format!("ifindex:{peer}")),
            (None, None) => (namespace.clone(), format!("ifindex:{peer}")),
        })
    }

    fn resolve(
        &mut self,
        session: &mut Session<'_>,
        asking: &'l NamespaceName,
        id: i32,
        candidates: impl Iterator<Item = &'l NamespaceName>,
    ) -> Result<Option<&'l NamespaceName>, Reason> {
        if let Some(found) = self.known.get(&(asking, id)) {
            return Ok(Some(found));
        }
        for candidate in candidates {
            let file = session.namespace(candidate)?.file.try_clone().map_err(Reason::NoNamespace)?;
            if let Some(number) = known_as(&mut session.namespace(asking)?.route, &file)? {
                self.known.insert((asking, number), candidate);
                if number == id {
                    return Ok(Some(candidate));
                }
            }
        }
        Ok(None)
    }
}
