//! The sockets on which somebody waits in a process's network namespace, from `/proc/<pid>/net`.

use shoal_model::spec::Protocol;
use shoal_model::trace::Listener;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A TCP socket in state LISTEN (`include/net/tcp_states.h`).
const TCP_LISTEN: &str = "0A";
/// A UDP socket that is not connected (`TCP_CLOSE` there).
const UDP_UNCONNECTED: &str = "07";

/// Reads them; a process that is gone has none.
pub(crate) fn of(pid: u32) -> BTreeSet<Listener> {
    let files = [
        ("tcp", Protocol::Tcp, TCP_LISTEN),
        ("tcp6", Protocol::Tcp, TCP_LISTEN),
        ("udp", Protocol::Udp, UDP_UNCONNECTED),
        ("udp6", Protocol::Udp, UDP_UNCONNECTED),
    ];
    let mut found = BTreeSet::new();
    for (file, protocol, state) in files {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
        let waits = text.lines().skip(1).filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (local, held) = (fields.nth(1)?, fields.nth(1)?);
            (held == state).then(|| bound(local)).flatten()
        });
        found.extend(waits.map(|(address, port)| Listener { protocol, address, port }));
    }
    found
}

/// `0100007F:1F90`: the address in words of the machine's byte order, the port as a number.
fn bound(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|n| u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let address = match words?.as_slice() {
        [only] => IpAddr::V4(Ipv4Addr::from(*only)),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_sockets_are_found() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let found = of(std::process::id());
        for (protocol, bound) in
            [(Protocol::Tcp, tcp.local_addr().unwrap()), (Protocol::Udp, udp.local_addr().unwrap())]
        {
            let wanted = Listener { protocol, address: bound.ip(), port: bound.port() };
            assert!(found.contains(&wanted), "{wanted:?} of {found:?}");
        }
        assert_eq!(bound("00000000000000000000000000000000:0050"), Some((Ipv6Addr::UNSPECIFIED.into(), 80)));
        assert_eq!(bound("nonsense"), None);
    }
}
