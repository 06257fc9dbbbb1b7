//! The packet filter's expressions, as the kernel's small register machine wants them (`linux/netfilter/nf_tables.h`).
//! Values are loaded into register 1 and compared there.

use crate::netlink::Attributes;
use std::net::IpAddr;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
const NFT_CT_STATUS: u32 = 2;
/// `IPS_DST_NAT`: the connection's destination was translated.
const DESTINATION_TRANSLATED: u32 = 1 << 5;
const NFT_NAT_DNAT: u32 = 1;
const NF_DROP: u32 = 0;
/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
/// Length of a link's name with its zeros.
const NAME_BYTES: usize = 16;

/// How a loaded value is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Equal = 0,
    Different = 1,
}

/// Which of a packet's addresses.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// A rule's expressions, first to last.
#[derive(Debug, Default, Clone)]
pub(crate) struct Expressions(Attributes);

impl Expressions {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn into_attributes(self) -> Attributes {
        self.0
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::new().text(NFTA_EXPR_NAME, name).nested(NFTA_EXPR_DATA, data);
        Self(self.0.nested(NFTA_LIST_ELEM, &expression))
    }

    fn meta(self, key: u32) -> Self {
        self.expression("meta", &Attributes::new().be32(1, REGISTER_1).be32(2, key))
    }

    fn compare(self, is: Is, value: &[u8]) -> Self {
        let data = Attributes::new().bytes(NFTA_DATA_VALUE, value);
        self.expression("cmp", &Attributes::new().be32(1, REGISTER_1).be32(2, is as u32).nested(3, &data))
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        self.expression(
            "payload",
            &Attributes::new().be32(1, REGISTER_1).be32(2, base).be32(3, offset).be32(4, length),
        )
    }

    fn masked(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        let value = |bytes: &[u8]| Attributes::new().bytes(NFTA_DATA_VALUE, bytes);
        let data = Attributes::new()
            .be32(1, REGISTER_1)
            .be32(2, REGISTER_1)
            .be32(3, length)
            .nested(4, &value(mask))
            .nested(5, &value(&vec![0; mask.len()]));
        self.expression("bitwise", &data)
    }

    fn immediate(self, register: u32, bytes: &[u8]) -> Self {
        let data = Attributes::new().bytes(NFTA_DATA_VALUE, bytes);
        self.expression("immediate", &Attributes::new().be32(1, register).nested(2, &data))
    }

    /// `iifname` or `!=`.
    pub(crate) fn entered_by(self, is: Is, link: &str) -> Self {
        self.meta(NFT_META_IIFNAME).compare(is, &padded(link))
    }

    /// `oifname` or `!=`.
    pub(crate) fn leaves_by(self, is: Is, link: &str) -> Self {
        self.meta(NFT_META_OIFNAME).compare(is, &padded(link))
    }

    /// `meta nfproto` and `ip saddr`/`ip6 daddr`…
    pub(crate) fn address_in(self, side: Side, net: ipnet::IpNet) -> Self {
        let family = if net.addr().is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        let (offset, length) = match (net.addr(), side) {
            (IpAddr::V4(_), Side::Source) => (12, 4),
            (IpAddr::V4(_), Side::Destination) => (16, 4),
            (IpAddr::V6(_), Side::Source) => (8, 16),
            (IpAddr::V6(_), Side::Destination) => (24, 16),
        };
        let loaded = self.meta(NFT_META_NFPROTO).compare(Is::Equal, &[family]).payload(
            NFT_PAYLOAD_NETWORK_HEADER,
            offset,
            length,
        );
        let whole = net.prefix_len() == net.max_prefix_len();
        let loaded = if whole { loaded } else { loaded.masked(&octets(net.netmask())) };
        loaded.compare(Is::Equal, &octets(net.network()))
    }

    /// `meta nfproto`.
    pub(crate) fn family_of(self, address: IpAddr) -> Self {
        let family = if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        self.meta(NFT_META_NFPROTO).compare(Is::Equal, &[family])
    }

    /// `fib daddr type local`.
    pub(crate) fn sent_to_own_address(self) -> Self {
        let data =
            Attributes::new().be32(1, REGISTER_1).be32(2, NFT_FIB_RESULT_ADDRTYPE).be32(3, NFTA_FIB_F_DADDR);
        self.expression("fib", &data).compare(Is::Equal, &RTN_LOCAL.to_ne_bytes())
    }

    /// `meta l4proto` and `th dport`.
    pub(crate) fn sent_to_port(self, protocol: u8, port: u16) -> Self {
        self.meta(NFT_META_L4PROTO)
            .compare(Is::Equal, &[protocol])
            .payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
            .compare(Is::Equal, &port.to_be_bytes())
    }

    /// `ct status dnat`; with [`Is::Equal`], connections whose destination was translated.
    pub(crate) fn translated(self, is: Is) -> Self {
        let opposite = if is == Is::Equal { Is::Different } else { Is::Equal };
        self.expression("ct", &Attributes::new().be32(1, REGISTER_1).be32(2, NFT_CT_STATUS))
            .masked(&DESTINATION_TRANSLATED.to_ne_bytes())
            .compare(opposite, &[0; 4])
    }

    /// `masquerade`.
    pub(crate) fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::new())
    }

    /// `dnat to address:port`.
    pub(crate) fn translate_to(self, address: IpAddr, port: u16) -> Self {
        let family = if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        let data = Attributes::new()
            .be32(1, NFT_NAT_DNAT)
            .be32(2, u32::from(family))
            .be32(3, REGISTER_1)
            .be32(5, REGISTER_2);
        self.immediate(REGISTER_1, &octets(address))
            .immediate(REGISTER_2, &port.to_be_bytes())
            .expression("nat", &data)
    }

    /// `drop`.
    pub(crate) fn drop_it(self) -> Self {
        let verdict = Attributes::new().be32(NFTA_VERDICT_CODE, NF_DROP);
        let data = Attributes::new().nested(NFTA_DATA_VERDICT, &verdict);
        self.expression("immediate", &Attributes::new().be32(1, REGISTER_VERDICT).nested(2, &data))
    }
}

fn padded(link: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    for (byte, letter) in bytes.iter_mut().zip(link.bytes()) {
        *byte = letter;
    }
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
