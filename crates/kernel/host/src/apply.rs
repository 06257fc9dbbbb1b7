//! One repair after the other.

use crate::netlink::Request;
use crate::session::{self, Session};
use crate::{Error, Host, Reason, addresses, firewall, links, namespace, neighbours, routes, sysctl};
use nix::errno::Errno;
use shoal_model::netns::{LinkKind, NamespaceName, NetOp};
use std::collections::BTreeSet;

impl Host {
    /// Carries out one operation. What is already as asked for is left alone.
    pub fn apply(&self, op: &NetOp) -> Result<(), Error> {
        match self.apply_all(std::slice::from_ref(op)).into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Carries out the operations in order and returns those that failed, by position; the others are done even after
    /// one has failed. Runs of operations of one message each (addresses, routes, rules, neighbours, forwarding
    /// entries) in one namespace are sent together.
    pub fn apply_all(&self, ops: &[NetOp]) -> Vec<(usize, Error)> {
        let result = namespace::on_fresh_thread(|| {
            let mut session = Session::new(self);
            let mut failed = Vec::new();
            let mut next = 0;
            while next < ops.len() {
                next += apply_run(&mut session, ops, next, &mut failed);
            }
            failed
        });
        match result {
            Ok(failed) => failed,
            Err(error) => vec![(0, error)],
        }
    }
}

/// Errors of a removal that mean that there is nothing to remove.
const ABSENT: &[Errno] = &[Errno::ENOENT, Errno::ESRCH, Errno::EADDRNOTAVAIL, Errno::ENODEV];
/// Error of an addition that means that it is there already.
const PRESENT: &[Errno] = &[Errno::EEXIST];

/// Carries out the operation at `next`, together with those after it that can be sent along; returns how many.
fn apply_run(
    session: &mut Session<'_>,
    ops: &[NetOp],
    next: usize,
    failed: &mut Vec<(usize, Error)>,
) -> usize {
    let Some(namespace) = sent_to(&ops[next]) else {
        if let Err(reason) = alone(session, &ops[next]) {
            failed.push((next, explain(&ops[next], reason)));
        }
        return 1;
    };
    let count = ops[next..].iter().take_while(|op| sent_to(op) == Some(namespace)).count();
    let run = &ops[next..next + count];
    let mut requests = Vec::with_capacity(count);
    let mut positions = Vec::with_capacity(count);
    for (i, op) in run.iter().enumerate() {
        match request(session, namespace, op) {
            Ok(request) => {
                requests.push(request);
                positions.push(i);
            }
            Err(Reason::NoLink(_) | Reason::NoNamespace(_)) if removes(op) => {}
            Err(reason) => failed.push((next + i, explain(op, reason))),
        }
    }
    let refused = match session.namespace(namespace).and_then(|entered| Ok(entered.route.batch(&requests)?)) {
        Ok(refused) => refused,
        Err(_) if requests.is_empty() => Vec::new(),
        Err(reason) => {
            failed.push((next, explain(&run[0], reason)));
            return count;
        }
    };
    for (sent, reason) in refused {
        let position = positions.get(sent).copied().unwrap_or(0);
        let op = &run[position];
        let fine = if removes(op) { ABSENT } else { PRESENT };
        if !reason.errno().is_some_and(|errno| fine.contains(&errno)) {
            failed.push((next + position, explain(op, reason.into())));
        }
    }
    count
}

/// For an operation that is one message: where it is sent.
fn sent_to(op: &NetOp) -> Option<&NamespaceName> {
    match op {
        NetOp::AddAddress { namespace, .. }
        | NetOp::RemoveAddress { namespace, .. }
        | NetOp::AddRoute(namespace, _)
        | NetOp::RemoveRoute(namespace, _)
        | NetOp::AddRule(namespace, _)
        | NetOp::RemoveRule(namespace, _)
        | NetOp::AddNeighbour(namespace, _)
        | NetOp::RemoveNeighbour(namespace, _)
        | NetOp::AddForwarding(namespace, _)
        | NetOp::RemoveForwarding(namespace, _) => Some(namespace),
        _ => None,
    }
}

fn removes(op: &NetOp) -> bool {
    matches!(
        op,
        NetOp::RemoveAddress { .. }
            | NetOp::RemoveRoute(..)
            | NetOp::RemoveRule(..)
            | NetOp::RemoveNeighbour(..)
            | NetOp::RemoveForwarding(..)
            | NetOp::RemoveLink { .. }
            | NetOp::RemoveNamespace(_)
    )
}

/// The message of an operation that is one message.
fn request(session: &mut Session<'_>, namespace: &NamespaceName, op: &NetOp) -> Result<Request, Reason> {
    let entered = session.namespace(namespace)?;
    Ok(match op {
        NetOp::AddAddress { link, address, .. } => addresses::add(entered.index_of(link)?, *address),
        NetOp::RemoveAddress { link, address, .. } => addresses::remove(entered.index_of(link)?, *address),
        NetOp::AddRoute(_, route) => routes::add(entered.index_of(&route.link)?, route),
        NetOp::RemoveRoute(_, route) => routes::remove(entered.index_of(&route.link)?, route),
        NetOp::AddRule(_, rule) => routes::add_rule(rule),
        NetOp::RemoveRule(_, rule) => routes::remove_rule(rule),
        NetOp::AddNeighbour(_, neighbour) => neighbours::add(entered.index_of(&neighbour.link)?, neighbour),
        NetOp::RemoveNeighbour(_, neighbour) => {
            neighbours::remove(entered.index_of(&neighbour.link)?, neighbour)
        }
        NetOp::AddForwarding(_, entry) => neighbours::add_forwarding(entered.index_of(&entry.link)?, entry),
        NetOp::RemoveForwarding(_, entry) => {
            neighbours::remove_forwarding(entered.index_of(&entry.link)?, entry)
        }
        _ => return Err(Reason::Impossible("this operation is more than one message")),
    })
}

/// Carries out an operation that is not one message.
fn alone(session: &mut Session<'_>, op: &NetOp) -> Result<(), Reason> {
    match op {
        NetOp::CreateNamespace(name) => {
            let path = session.host.namespace_path(named(name)?);
            namespace::create_namespace(&path).map_err(reason_of)
        }
        NetOp::RemoveNamespace(name) => remove_namespace(session, name),
        NetOp::CreateLink { namespace, name, link, peer_link } => {
            links::create(session, namespace, name, link, peer_link.as_deref())
        }
        NetOp::RemoveLink { namespace, name } => match links::remove(session, namespace, name) {
            Err(Reason::NoNamespace(_)) => Ok(()),
            result => result,
        },
        NetOp::SetLink { namespace, name, link } => links::set(session, namespace, name, link),
        NetOp::SetSysctl { namespace, name, value } => {
            session.stand_in(namespace)?;
            sysctl::write(name, value)
        }
        NetOp::SetFirewall(namespace, rules) => {
            let table = session.host.config.nft_table.clone();
            let entered = session.namespace(namespace)?;
            entered.forget_isolated();
            firewall::replace(&mut entered.filter, &table, rules)?;
            links::set_isolated(session, namespace, &firewall::isolated_bridges(rules))
        }
        _ => Err(Reason::Impossible("this operation is one message")),
    }
}

fn named(name: &NamespaceName) -> Result<&str, Reason> {
    match name {
        NamespaceName::Host => Err(Reason::Impossible("the host's namespace is neither made nor removed")),
        NamespaceName::Named(text) => session::checked(text),
    }
}

fn remove_namespace(session: &mut Session<'_>, name: &NamespaceName) -> Result<(), Reason> {
    let path = session.host.namespace_path(named(name)?);
    // The kernel drops a namespace some time after its last user has gone; until then a VXLAN device in it would keep
    // its identifier from a new one. Links that cannot be removed now go with the namespace.
    if let Ok(entered) = session.namespace(name)
        && let Ok(seen) = links::dump(&mut entered.route)
    {
        let tunnels = seen.iter().filter(|link| matches!(link.kind, links::SeenKind::Vxlan { .. }));
        for tunnel in tunnels.map(|link| link.name.clone()).collect::<BTreeSet<_>>() {
            links::remove(session, name, &tunnel)?;
        }
    }
    session.leave(name)?;
    namespace::remove_namespace(&path).map_err(reason_of)
}

fn reason_of(error: Error) -> Reason {
    match error {
        Error::Operation { reason, .. } => reason,
        Error::Namespace { source, .. } | Error::Thread(source) => Reason::File(source),
    }
}

/// The error with what was tried, on what and where.
fn explain(op: &NetOp, reason: Reason) -> Error {
    let (operation, namespace, subject) = match op {
        NetOp::CreateNamespace(name) => ("create", name, "the namespace".to_owned()),
        NetOp::RemoveNamespace(name) => ("remove", name, "the namespace".to_owned()),
        NetOp::CreateLink { namespace, name, link, .. } => {
            ("create link", namespace, link_subject(name, &link.kind))
        }
        NetOp::RemoveLink { namespace, name } => ("remove link", namespace, name.clone()),
        NetOp::SetLink { namespace, name, .. } => ("set link", namespace, name.clone()),
        NetOp::AddAddress { namespace, link, address } => {
            ("add address", namespace, format!("{address} of {link}"))
        }
        NetOp::RemoveAddress { namespace, link, address } => {
            ("remove address", namespace, format!("{address} of {link}"))
        }
        NetOp::AddRoute(namespace, r) => {
            ("add route", namespace, format!("to {} over {}", r.destination, r.link))
        }
        NetOp::RemoveRoute(namespace, r) => {
            ("remove route", namespace, format!("to {} over {}", r.destination, r.link))
        }
        NetOp::AddRule(namespace, r) => {
            ("add rule", namespace, format!("from {} to table {}", r.from, r.table))
        }
        NetOp::RemoveRule(namespace, r) => {
            ("remove rule", namespace, format!("from {} to table {}", r.from, r.table))
        }
        NetOp::AddNeighbour(namespace, n) => {
            ("add neighbour", namespace, format!("{} on {}", n.address, n.link))
        }
        NetOp::RemoveNeighbour(namespace, n) => {
            ("remove neighbour", namespace, format!("{} on {}", n.address, n.link))
        }
        NetOp::AddForwarding(namespace, f) => {
            ("add forwarding entry", namespace, format!("{} on {}", f.mac, f.link))
        }
        NetOp::RemoveForwarding(namespace, f) => {
            ("remove forwarding entry", namespace, format!("{} on {}", f.mac, f.link))
        }
        NetOp::SetSysctl { namespace, name, value } => {
            ("set parameter", namespace, format!("{name} = {value}"))
        }
        NetOp::SetFirewall(namespace, _) => ("replace", namespace, "the packet filter's rules".to_owned()),
    };
    Error::Operation { operation, subject, namespace: namespace.clone(), reason }
}

fn link_subject(name: &str, kind: &LinkKind) -> String {
    match kind {
        LinkKind::Loopback | LinkKind::Bridge => name.to_owned(),
        LinkKind::Vxlan { vni, .. } => format!("{name} (VXLAN {vni})"),
        LinkKind::Veth { peer_namespace, peer } => format!("{name} (paired with {peer} in {peer_namespace})"),
    }
}
