//! From node to node.

use super::{Chosen, Dropped, Way};
use shoal_model::netns::{Link, LinkKind, Namespace, NamespaceName};
use shoal_model::trace::{Holdings, Path, Target};

/// The namespace of the network that carries the connection.
pub(super) fn of(path: &Path, entry: &Holdings, host: &str, way: &mut Way) -> Result<NamespaceName, Dropped> {
    match &path.target {
        Target::Virtual { network, .. } | Target::Task { network, .. } => {
            Ok(NamespaceName::Named(shoal_model::network::namespace_name(network)))
        }
        Target::Published => match &entry.mesh {
            Some(mesh) => Ok(mesh.overlay.clone()),
            None => way.drop(host, "the node has no ingress endpoint yet"),
        },
    }
}

/// Over the tunnel to the task's node.
pub(super) fn carry(
    overlay: &NamespaceName,
    (held, host): (&Holdings, &str),
    chosen: &Chosen,
    path: &Path,
    way: &mut Way,
) -> Result<(), Dropped> {
    let network = namespace(held, overlay, host, way)?;
    let (name, vni) = tunnel(network, overlay, host, way)?;
    let Chosen { address, mac, .. } = chosen;
    // The mesh writes the Ethernet address itself; everybody else asks for it, and the device answers from its entries.
    if path.target != Target::Published
        && !network.neighbours.iter().any(|n| n.address == *address && n.mac == *mac)
    {
        return way.drop(host, format!("{name} in {overlay} has no neighbour entry for {address} at {mac}"));
    }
    let Some(entry) = network.forwarding.iter().find(|entry| entry.mac == *mac) else {
        return way.drop(host, format!("{name} in {overlay} has no forwarding entry for {mac}"));
    };
    way.hop(host, format!("{name} (VNI {vni}) carries it to {} as a frame for {mac}", entry.tunnel));
    Ok(())
}

pub(super) fn namespace<'a>(
    held: &'a Holdings,
    name: &NamespaceName,
    host: &str,
    way: &mut Way,
) -> Result<&'a Namespace, Dropped> {
    match held.namespaces.get(name) {
        Some(namespace) => Ok(namespace),
        None => way.drop(host, format!("namespace {name} is missing")),
    }
}

/// The network's tunnel and its number.
pub(super) fn tunnel<'a>(
    network: &'a Namespace,
    overlay: &NamespaceName,
    host: &str,
    way: &mut Way,
) -> Result<(&'a str, u32), Dropped> {
    let found = network.links.iter().find_map(|(name, link)| match link.kind {
        LinkKind::Vxlan { vni, .. } => Some((name, link, vni)),
        _ => None,
    });
    let Some((name, link, vni)) = found else {
        return way.drop(host, format!("{overlay} has no VXLAN device"));
    };
    must_be_up(name, link, overlay, host, way)?;
    Ok((name, vni))
}

pub(super) fn must_be_up(
    name: &str,
    link: &Link,
    namespace: &NamespaceName,
    host: &str,
    way: &mut Way,
) -> Result<(), Dropped> {
    if link.up { Ok(()) } else { way.drop(host, format!("link {name} in {namespace} is down")) }
}
