//! Which registries are spoken to without a checked certificate. Pure.

use ipnet::IpNet;
use std::net::IpAddr;

/// Whether `domain` (`host[:port]`) is on loopback or in `list` (`host[:port]` or networks).
pub(crate) fn is_insecure(domain: &str, list: &[String]) -> bool {
    let host = domain.rsplit_once(':').map_or(domain, |(host, _)| host);
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || list.iter().any(|entry| entry == domain || entry == host || is_in(address, entry))
}

fn is_in(address: Option<IpAddr>, network: &str) -> bool {
    let Some(address) = address else { return false };
    network.parse::<IpNet>().is_ok_and(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_what_is_listed_are_insecure() {
        let list = ["10.0.0.0/8".to_owned(), "registry.lan:5000".to_owned(), "other.lan".to_owned()];
        for domain in [
            "localhost",
            "localhost:5000",
            "127.9.0.1:1",
            "10.1.2.3:5000",
            "registry.lan:5000",
            "other.lan:1",
        ] {
            assert!(is_insecure(domain, &list), "{domain}");
        }
        for domain in ["docker.io", "11.0.0.1:5000", "registry.lan:5001", "localhost.example.org"] {
            assert!(!is_insecure(domain, &list), "{domain}");
        }
    }
}
