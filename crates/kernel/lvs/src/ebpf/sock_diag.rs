//! Sockets of the calling thread's namespace, as the kernel lists them, and their end.
//!
//! Numbers and layouts are those of `linux/sock_diag.h` and `linux/inet_diag.h`.

use super::abi::{Address, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::error::of_netlink;
use shoal_netlink::protocols::NETLINK_SOCK_DIAG;
use shoal_netlink::{Request, Socket as Link};
use std::io;
use std::net::{IpAddr, SocketAddr};

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

/// Length of `struct inet_diag_sockid` in bytes, and where it lies in `struct inet_diag_msg`.
const ID_LENGTH: usize = 48;
const ID_AT: usize = 4;

/// States of sockets (`net/tcp_states.h`).
pub(crate) const ESTABLISHED: u8 = 1;
/// Asked, not answered yet.
pub(crate) const SYN_SENT: u8 = 2;
/// Over; datagram sockets that are not connected, too.
pub(crate) const CLOSE: u8 = 7;

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    /// As `bpf_get_socket_cookie` tells it.
    pub(crate) cookie: u64,
    /// Protocol number of the IP header.
    pub(crate) protocol: u8,
    /// One of the states above, or another.
    pub(crate) state: u8,
    /// Its own address; unspecified where it is bound to none.
    pub(crate) local: SocketAddr,
    /// Its peer's; unspecified where it is not connected.
    pub(crate) remote: SocketAddr,
    family: u8,
    id: [u8; ID_LENGTH],
}

/// All TCP and UDP sockets that are bound to a port, of both families.
pub(crate) fn sockets() -> io::Result<Vec<Socket>> {
    let mut link = Link::open(NETLINK_SOCK_DIAG).map_err(of_netlink)?;
    let mut sockets = Vec::new();
    for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let family = u8::try_from(family).map_err(io::Error::other)?;
            let all = request(BY_FAMILY, [family, protocol], &[0; ID_LENGTH]);
            let answers = link.dump(&all).map_err(of_netlink)?;
            sockets.extend(answers.iter().filter_map(|answer| Socket::parse(&answer.body, protocol)));
        }
    }
    Ok(sockets)
}

/// Ends those sockets of the namespace that `doomed` picks: whoever waits on one is woken with an error, and the peer of
/// a TCP connection gets a reset. Returns them.
///
/// A kernel without `CONFIG_INET_DIAG_DESTROY` leaves connections to their own timers; then there are none.
pub(crate) fn destroy(doomed: impl Fn(&Socket) -> bool) -> io::Result<Vec<Socket>> {
    let mut destroyed = Vec::new();
    let mut link = Link::open(NETLINK_SOCK_DIAG).map_err(of_netlink)?;
    for socket in sockets()?.into_iter().filter(doomed) {
        let end = request(DESTROY, [socket.family, socket.protocol], &socket.id);
        match link.request(&end).map_err(of_netlink) {
            Ok(_) => destroyed.push(socket),
            // It is closed by now.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(destroyed)
}

/// `struct inet_diag_req_v2`, for sockets in any state.
fn request(kind: u16, [family, protocol]: [u8; 2], id: &[u8; ID_LENGTH]) -> Request {
    let mut body = vec![family, protocol, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(id);
    Request { kind, flags: 0, body }
}

impl Socket {
    /// From a `struct inet_diag_msg`.
    fn parse(body: &[u8], protocol: u8) -> Option<Self> {
        let (family, state) = (*body.first()?, *body.get(1)?);
        let id: &[u8; ID_LENGTH] = body.get(ID_AT..)?.first_chunk()?;
        let word = |at: usize| Some(u32::from_ne_bytes(*id.get(at..)?.first_chunk()?));
        let address = |at: usize| {
            if i32::from(family) == libc::AF_INET {
                return Some(IpAddr::from(<[u8; 4]>::try_from(id.get(at..at + 4)?).ok()?));
            }
            Some(IpAddr::from(Address { bytes: [word(at)?, word(at + 4)?, word(at + 8)?, word(at + 12)?] }))
        };
        Some(Self {
            cookie: u64::from(word(40)?) | u64::from(word(44)?) << 32,
            protocol,
            state,
            local: SocketAddr::new(address(4)?, u16::from_be_bytes([id[0], id[1]])),
            remote: SocketAddr::new(address(20)?, u16::from_be_bytes([id[2], id[3]])),
            family,
            id: *id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_own_socket_is_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let listed = sockets().unwrap();
        let found = listed.iter().find(|socket| socket.local == own).unwrap();
        assert_eq!((found.protocol, found.remote.port()), (PROTOCOL_TCP, 0));
        assert_ne!(found.cookie, 0);
    }
}
