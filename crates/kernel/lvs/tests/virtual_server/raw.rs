//! A client that writes its own IPv4 headers.

use crate::netns::Netns;
use crate::talk::ip;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};

pub(crate) struct Raw {
    socket: OwnedFd,
    to: Ipv4Addr,
}

/// Where a fragment belongs in its datagram.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) id: u16,
    /// In bytes, a multiple of eight.
    pub(crate) at: usize,
    pub(crate) more: bool,
}

impl Raw {
    pub(crate) fn new(netns: &Netns, to: &str) -> Self {
        let raw = SockProtocol::Raw;
        let make = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, raw).unwrap();
        let IpAddr::V4(to) = ip(to) else { panic!("{to}") };
        Self { socket: netns.within(make), to }
    }

    fn send(&self, from: Ipv4Addr, protocol: u8, part: Part, payload: &[u8]) {
        let length = u16::try_from(20 + payload.len()).unwrap();
        let fragment = u16::try_from(part.at / 8).unwrap() | u16::from(part.more) << 13;
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend(part.id.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        // The kernel writes the checksum.
        packet.extend([64, protocol, 0, 0]);
        packet.extend(from.octets());
        packet.extend(self.to.octets());
        packet.extend(payload);
        let to = SockaddrIn::from(std::net::SocketAddrV4::new(self.to, 0));
        sendto(self.socket.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
    }

    /// A fragment of a UDP datagram.
    pub(crate) fn send_fragment(&self, from: Ipv4Addr, part: Part, payload: &[u8]) {
        self.send(from, 17, part, payload);
    }

    /// The first packet of a TCP connection.
    pub(crate) fn send_syn(&self, from: Ipv4Addr, from_port: u16, port: u16) {
        let mut header = [from_port.to_be_bytes(), port.to_be_bytes()].concat();
        // Sequence number, none to acknowledge, five words, SYN, window, checksum, nothing urgent.
        header.extend([1, 2, 3, 4, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
        let pseudo = [&from.octets()[..], &self.to.octets(), &[0, 6, 0, 20]].concat();
        let words = pseudo.chunks(2).chain(header.chunks(2));
        let mut sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        header[16..18].copy_from_slice(&checksum.to_be_bytes());
        self.send(from, 6, Part { id: 0, at: 0, more: false }, &header);
    }
}
