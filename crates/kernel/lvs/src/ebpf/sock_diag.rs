//! Sockets of the calling thread's namespace, as the kernel lists them.
//!
//! Numbers and layouts are those of `linux/sock_diag.h` and `linux/inet_diag.h`.

use super::abi::{Address, PROTOCOL_TCP, PROTOCOL_UDP};
use super::netlink::{DUMP, Link, Message, REQUEST};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::io;
use std::net::{IpAddr, SocketAddr};

const BY_FAMILY: u16 = 20;

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
}

/// All TCP and UDP sockets that are bound to a port, of both families.
pub(crate) fn sockets() -> io::Result<Vec<Socket>> {
    let link = Link::open(NETLINK_SOCK_DIAG)?;
    let mut sockets = Vec::new();
    for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let family = u8::try_from(family).map_err(io::Error::other)?;
            let answers = link.ask(request(family, protocol))?;
            sockets.extend(answers.iter().filter_map(|answer| Socket::parse(answer, protocol)));
        }
    }
    Ok(sockets)
}

/// `struct inet_diag_req_v2` for all sockets in any state.
fn request(family: u8, protocol: u8) -> Message {
    let mut message = Message::new(BY_FAMILY, REQUEST | DUMP);
    message.bytes(&[family, protocol, 0, 0]);
    message.bytes(&u32::MAX.to_ne_bytes());
    message.bytes(&[0; ID_LENGTH]);
    message
}

impl Socket {
    /// From a `struct inet_diag_msg`.
    fn parse(body: &[u8], protocol: u8) -> Option<Self> {
        let (family, state) = (*body.first()?, *body.get(1)?);
        let id: &[u8; ID_LENGTH] = body.get(ID_AT..)?.first_chunk()?;
        let word = |at: usize| Some(u32::from_ne_bytes(*id.get(at..)?.first_chunk()?));
        let address = Address { bytes: [word(4)?, word(8)?, word(12)?, word(16)?] };
        let address = if i32::from(family) == libc::AF_INET {
            IpAddr::from(<[u8; 4]>::try_from(id.get(4..8)?).ok()?)
        } else {
            IpAddr::from(address)
        };
        let port = u16::from_be_bytes([id[0], id[1]]);
        let cookie = u64::from(word(40)?) | u64::from(word(44)?) << 32;
        Some(Self { cookie, protocol, state, local: SocketAddr::new(address, port) })
    }
}
