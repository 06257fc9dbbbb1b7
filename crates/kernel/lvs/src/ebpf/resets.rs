//! Ends the connections of real servers that are gone, rather than letting them hang.
//!
//! A connection that was balanced at the socket is ended at the socket, a TCP connection of the mesh at the task that no
//! longer serves it: the kernel sends its client a reset, which is translated as long as the mesh still knows the task.
//! Where the task died with its node nobody is left to send one; then the entry node's own stack resets the connection
//! when its client says something (`goes_on` in `bpf/entry.h`).

use super::abi::{
    Address, Balanced, EntryFlow, FLOW_ANSWERED, GoneServer, MeshTask, PROTOCOL_TCP, Server, is_closed,
};
use super::flows::now;
use super::map::Maps;
use super::namespace::Places;
use super::sock_diag;
use crate::Error;
use shoal_model::lvs::{Mesh, PortMapping};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

/// For so long the resets of a removed server are told, in nanoseconds: long enough to be seen by whoever looks once a
/// minute.
const REMEMBERED: u64 = 600 * 1_000_000_000;

/// One end of a TCP connection at a task: namespace, own address, peer.
type TaskEnd = (u64, SocketAddr, SocketAddr);

/// Ends connections to ports of local tasks that are not declared any more.
pub(crate) fn at_tasks(maps: &Maps, places: &Places, mesh: Option<&Mesh>) -> Result<(), Error> {
    let doomed = undeclared_ends(maps, mesh)?;
    let namespaces: BTreeSet<u64> = doomed.iter().map(|(cookie, _, _)| *cookie).collect();
    if namespaces.is_empty() {
        return Ok(());
    }
    places.within_those(&namespaces, |cookie| {
        let at = |to: SocketAddr| SocketAddr::new(to.ip().to_canonical(), to.port());
        sock_diag::destroy(|socket| {
            socket.protocol == PROTOCOL_TCP && doomed.contains(&(cookie, at(socket.local), at(socket.remote)))
        })
    })?;
    Ok(())
}

/// A task's address, a protocol, and a published port in network byte order.
type TaskPublished = (Address, u8, u16);

fn declared_ports(mesh: Option<&Mesh>) -> HashSet<TaskPublished> {
    let mut declared = HashSet::new();
    for task in mesh.iter().flat_map(|mesh| mesh.tasks.values()) {
        let addresses = [Some(task.address), task.address6.map(Into::into)];
        for address in addresses.into_iter().flatten() {
            let port = |p: &PortMapping| (address.into(), p.protocol.ip_number(), p.published.to_be());
            declared.extend(task.ports.iter().map(port));
        }
    }
    declared
}

/// Ports that the mesh still translates though nobody declares them any more.
fn undeclared_ports(maps: &Maps, mesh: Option<&Mesh>) -> Result<HashSet<TaskPublished>, Error> {
    let declared = declared_ports(mesh);
    let tasks: HashMap<u32, MeshTask> = maps.mesh_tasks.dump()?.into_iter().collect();
    let mut undeclared = HashSet::new();
    for (port, _) in maps.task_ports.dump()? {
        let Some(task) = tasks.get(&port.port_link) else { continue };
        let of = |address| (address, port.protocol, port.published);
        let addresses = [task.address, task.address6].into_iter().filter(|a| *a != Address::default());
        undeclared.extend(addresses.map(of).filter(|port| !declared.contains(port)));
    }
    Ok(undeclared)
}

fn undeclared_ends(maps: &Maps, mesh: Option<&Mesh>) -> Result<HashSet<TaskEnd>, Error> {
    let undeclared = undeclared_ports(maps, mesh)?;
    if undeclared.is_empty() {
        return Ok(HashSet::new());
    }
    let sandboxes = maps.sandboxes.dump()?.into_iter();
    let of_address: HashMap<Address, u64> = sandboxes
        .flat_map(|(cookie, sandbox)| [(sandbox.ingress, cookie), (sandbox.ingress6, cookie)])
        .collect();
    let ends = maps.task_flows.dump()?.into_iter().filter_map(|(key, flow)| {
        let open = key.protocol == PROTOCOL_TCP && !is_closed(flow.state);
        let undeclared = undeclared.contains(&(key.task, key.protocol, flow.published));
        let namespace = *of_address.get(&key.task)?;
        let end = |address: Address, port: u16| SocketAddr::new(address.into(), u16::from_be(port));
        (open && undeclared).then(|| (namespace, end(key.task, key.port), end(key.client, key.client_port)))
    });
    Ok(ends.collect())
}

/// Ends connections to servers that the kernel does not hold any more; `removed` are those that it did until now.
pub(crate) fn of_servers(maps: &Maps, places: &Places, removed: &[(u32, Server)]) -> Result<(), Error> {
    let mut resets = at_sockets(maps, places)?;
    if !removed.is_empty() {
        for (_, flow) in
            maps.entry_flows.dump()?.into_iter().filter(|(key, flow)| is_open(key.protocol, flow))
        {
            *resets.entry(flow.server).or_default() += 1;
        }
    }
    let now = now()?;
    for (number, server) in removed {
        if let Some(resets) = resets.get(number).copied() {
            let gone = GoneServer { removed: now, resets, service: server.service, task: server.task };
            maps.gone_servers.put(number, &gone)?;
        }
    }
    for (number, gone) in maps.gone_servers.dump()? {
        if now.saturating_sub(gone.removed) > REMEMBERED {
            maps.gone_servers.remove(&number)?;
        }
    }
    Ok(())
}

fn is_open(protocol: u8, flow: &EntryFlow) -> bool {
    protocol == PROTOCOL_TCP && flow.state & FLOW_ANSWERED != 0 && !is_closed(flow.state)
}

/// Ends sockets that are connected to a server that is not there; how many by server.
fn at_sockets(maps: &Maps, places: &Places) -> Result<BTreeMap<u32, u64>, Error> {
    let servers: HashSet<u32> = maps.servers.dump()?.into_iter().map(|(number, _)| number).collect();
    let mut doomed: HashMap<u64, Balanced> = maps.balanced_sockets.dump()?.into_iter().collect();
    doomed.retain(|_, balanced| !servers.contains(&balanced.server));
    let mut resets = BTreeMap::new();
    if doomed.is_empty() {
        return Ok(resets);
    }
    let namespaces: BTreeSet<u64> = doomed.values().map(|balanced| balanced.netns).collect();
    let destroyed = places
        .within_those(&namespaces, |_| sock_diag::destroy(|socket| doomed.contains_key(&socket.cookie)))?;
    for socket in destroyed.into_iter().flat_map(|(_, sockets)| sockets) {
        if let Some(balanced) = doomed.get(&socket.cookie) {
            *resets.entry(balanced.server).or_default() += 1;
        }
    }
    for cookie in doomed.keys() {
        maps.balanced_sockets.remove(cookie)?;
    }
    Ok(resets)
}
