//! The addresses given to `docker swarm init` and `join`: an address or an interface's name, with or without a port.

use shoal_host::{HostFacts, Interface};
use shoal_wire::ApiError;
use std::net::{IpAddr, SocketAddr};

/// The managers' port, as Docker's.
pub(crate) const DEFAULT_PORT: u16 = 2377;

/// What was written, taken apart.
#[derive(Debug, PartialEq, Eq)]
enum Written<'a> {
    Address(IpAddr, Option<u16>),
    Interface(&'a str, Option<u16>),
}

fn parse(text: &str) -> Option<Written<'_>> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Written::Address(address.ip(), Some(address.port())));
    }
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some(Written::Address(address, None));
    }
    match text.split_once(':') {
        Some((name, port)) => Some(Written::Interface(name, Some(port.parse().ok()?))),
        None => Some(Written::Interface(text, None)),
    }
}

/// Where to listen.
pub(crate) fn listen(text: &str, facts: &HostFacts) -> Result<SocketAddr, ApiError> {
    let text = if text.is_empty() { "0.0.0.0" } else { text };
    let (address, port) = resolve(text, facts)?;
    Ok(SocketAddr::new(address, port.unwrap_or(DEFAULT_PORT)))
}

/// What to tell others; `port` is the listening one.
pub(crate) fn advertise(text: &str, port: u16, facts: &HostFacts) -> Result<SocketAddr, ApiError> {
    if text.is_empty() {
        return Ok(SocketAddr::new(only_address(facts)?, port));
    }
    let (address, given) = resolve(text, facts)?;
    if address.is_unspecified() {
        return Err(ApiError::bad_request(
            "advertise address must be a non-zero IP address or network interface (with optional port number)",
        ));
    }
    Ok(SocketAddr::new(address, given.unwrap_or(port)))
}

/// Where VXLAN traffic comes from, if not from the advertised address.
pub(crate) fn data_path(text: &str, facts: &HostFacts) -> Result<Option<IpAddr>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    match resolve(text, facts)? {
        (address, None) if !address.is_unspecified() => Ok(Some(address)),
        _ => Err(ApiError::bad_request(
            "data path address must be a non-zero IP address or network interface (without a port number)",
        )),
    }
}

fn resolve(text: &str, facts: &HostFacts) -> Result<(IpAddr, Option<u16>), ApiError> {
    match parse(text) {
        Some(Written::Address(address, port)) => Ok((address, port)),
        Some(Written::Interface(name, port)) => {
            let interface = facts.interfaces.iter().find(|i| i.name == name);
            let interface = interface.ok_or_else(|| {
                ApiError::bad_request(format!("could not find the local address or interface {name:?}"))
            })?;
            let address = usable(interface)
                .next()
                .ok_or_else(|| ApiError::bad_request(format!("interface {name} has no usable IP address")))?;
            Ok((address, port))
        }
        None => Err(ApiError::bad_request(format!("invalid address {text:?}"))),
    }
}

/// An interface's addresses that reach beyond its link: those of IPv4, or of IPv6 where it has no other.
fn usable(interface: &Interface) -> impl Iterator<Item = IpAddr> {
    let mut found: Vec<IpAddr> = interface.addresses.iter().map(ipnet::IpNet::addr).collect();
    found.retain(|address| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    let has_ipv4 = found.iter().any(IpAddr::is_ipv4);
    found.into_iter().filter(move |address| address.is_ipv4() == has_ipv4)
}

/// The host's only address, or Docker's complaint that there are several.
fn only_address(facts: &HostFacts) -> Result<IpAddr, ApiError> {
    let up = facts.interfaces.iter().filter(|i| i.up && !i.loopback);
    let mut found = up.flat_map(|i| usable(i).map(|address| (address, &i.name)));
    let Some((address, name)) = found.next() else {
        return Err(ApiError::bad_request(
            "could not find the system's IP address - specify one with --advertise-addr",
        ));
    };
    match found.next() {
        None => Ok(address),
        Some((other, other_name)) => Err(ApiError::bad_request(format!(
            "could not choose an IP address to advertise since this system has multiple addresses ({address} on {name} and {other} on {other_name}) - specify one with --advertise-addr"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_uplink(addresses: &[&str]) -> HostFacts {
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            ifindex: 1,
            mtu: 1500,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            up: true,
            loopback: name == "lo",
            has_default_route: false,
        };
        HostFacts {
            interfaces: vec![interface("lo", &["127.0.0.1/8", "::1/128"]), interface("eth0", addresses)],
            ..HostFacts::default()
        }
    }

    fn facts() -> HostFacts {
        with_uplink(&["192.168.50.11/24"])
    }

    #[test]
    fn ipv6_counts_where_there_is_no_ipv4() {
        let both = with_uplink(&["fd00:50::11/64", "192.168.50.11/24", "fe80::1/64"]);
        assert_eq!(advertise("", 2377, &both).unwrap().to_string(), "192.168.50.11:2377");
        let six = with_uplink(&["fe80::1/64", "fd00:50::11/64"]);
        assert_eq!(advertise("", 2377, &six).unwrap().to_string(), "[fd00:50::11]:2377");
        assert_eq!(data_path("eth0", &six).unwrap().unwrap().to_string(), "fd00:50::11");
        assert_eq!(advertise("[fd00:50::11]:9000", 2377, &six).unwrap().to_string(), "[fd00:50::11]:9000");
        let link_only = with_uplink(&["fe80::1/64"]);
        assert!(data_path("eth0", &link_only).unwrap_err().message.contains("no usable IP address"));
    }

    #[test]
    fn addresses_interfaces_and_ports() {
        assert_eq!(listen("", &facts()).unwrap().to_string(), "0.0.0.0:2377");
        assert_eq!(listen("eth0:9000", &facts()).unwrap().to_string(), "192.168.50.11:9000");
        assert_eq!(advertise("", 2377, &facts()).unwrap().to_string(), "192.168.50.11:2377");
        assert_eq!(advertise("10.0.0.1:1", 2377, &facts()).unwrap().to_string(), "10.0.0.1:1");
        assert!(advertise("nosuch0", 2377, &facts()).unwrap_err().message.contains("nosuch0"));
        assert!(advertise("0.0.0.0", 2377, &facts()).is_err());
        assert!(data_path("eth0:1", &facts()).is_err());
    }
}
