//! Kernel parameters of the namespaces, all in one place. A new namespace takes its IPv4 values from the kernel's first
//! namespace, not from its maker, so what matters is said even where it is the kernel's default.

use shoal_model::netns::{LinkKind, Namespace};

/// Sets parameters.
fn set(namespace: &mut Namespace, parameters: &[(&str, &str)]) {
    let owned = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    namespace.sysctls.extend(owned);
}

/// Whether any link of the namespace has an IPv6 address.
fn speaks_ipv6(namespace: &Namespace) -> bool {
    namespace.links.values().flat_map(|link| &link.addresses).any(|a| a.addr().is_ipv6())
}

/// The host forwards for its sandboxes. Where its own connections to 127.0.0.1 are translated on their way out, their
/// packets may leave by the bridge. Everything else there is the operator's. (IPv6 is not forwarded: sandboxes have no
/// IPv6 address on the bridges, the routing mesh does not need it, and a host that forwards no longer learns its default
/// route from router advertisements.)
pub(super) fn host(namespace: &mut Namespace, loopback_leaves: bool) {
    set(namespace, &[("net.ipv4.ip_forward", "1")]);
    if loopback_leaves {
        let name = format!("net.ipv4.conf.{}.route_localnet", crate::names::GATEWAY_BRIDGE);
        namespace.sysctls.insert(name, "1".to_owned());
    }
}

/// An overlay's namespace bridges and does not route. Without IPv6 subnets, links do not give themselves IPv6 addresses
/// that would be announced over the overlay.
pub(super) fn overlay(namespace: &mut Namespace) {
    set(namespace, &[("net.ipv4.ip_forward", "0")]);
    ipv6_as_needed(namespace);
}

/// The ingress sandbox routes between the overlay and the host.
pub(super) fn ingress(namespace: &mut Namespace) {
    set(namespace, &[("net.ipv4.ip_forward", "1")]);
    accept_asymmetric_ways(namespace);
    ipv6_as_needed(namespace);
    if speaks_ipv6(namespace) {
        set(namespace, &[("net.ipv6.conf.all.forwarding", "1")]);
    }
}

/// A task's sandbox: as Docker's (unprivileged ports, unprivileged ping), and as a real server behind LVS direct routing
/// has to be: it holds the virtual address on `lo` and must neither answer nor ask for neighbours with it. What the user
/// set for the container is not touched; the container's maker sets it.
pub(super) fn task(namespace: &mut Namespace, by_user: impl Fn(&str) -> bool) {
    set(
        namespace,
        &[
            ("net.ipv4.ip_forward", "0"),
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
        ],
    );
    accept_asymmetric_ways(namespace);
    ipv6_as_needed(namespace);
    namespace.sysctls.retain(|name, _| !by_user(name));
}

/// A packet of the routing mesh comes in by the ingress link from anywhere. The kernel takes the greater of a link's
/// value and that of `all`.
fn accept_asymmetric_ways(namespace: &mut Namespace) {
    let links: Vec<String> =
        namespace.links.keys().filter(|name| *name != crate::names::LOOPBACK).cloned().collect();
    for scope in links.iter().map(String::as_str).chain(["all"]) {
        namespace.sysctls.insert(format!("net.ipv4.conf.{scope}.rp_filter"), "0".to_owned());
    }
}

/// Links with an IPv6 address speak IPv6, the others keep silent. Nobody advertises routes on these links, and their
/// addresses are unique by declaration: there is nothing to ask and nothing to wait for. The value of `all` is said first:
/// it is written to every link.
fn ipv6_as_needed(namespace: &mut Namespace) {
    if !speaks_ipv6(namespace) {
        return set(namespace, &[("net.ipv6.conf.all.disable_ipv6", "1")]);
    }
    set(namespace, &[("net.ipv6.conf.all.disable_ipv6", "0")]);
    for (name, link) in &namespace.links {
        let speaks = link.addresses.iter().any(|a| a.addr().is_ipv6());
        let parameters: &[(&str, &str)] = match link.kind {
            // The tunnel has no address, but answers for the neighbours behind it.
            LinkKind::Loopback | LinkKind::Vxlan { .. } => &[("disable_ipv6", "0")],
            _ if speaks => &[("disable_ipv6", "0"), ("accept_ra", "0"), ("accept_dad", "0")],
            _ => &[("disable_ipv6", "1")],
        };
        for (parameter, value) in parameters {
            namespace.sysctls.insert(format!("net.ipv6.conf.{name}.{parameter}"), (*value).to_owned());
        }
    }
}
