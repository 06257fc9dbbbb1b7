//! Expressions of rules, as the packet filter's register machine wants them (`linux/netfilter/nf_tables.h`). Registers
//! are numbered by 32-bit words from 0 on; an IPv6 address takes four of them.

use shoal_netlink::Attributes;
use std::net::IpAddr;
use std::time::Duration;

const ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;
/// `NFT_REG32_00`.
const FIRST_WORD: u32 = 8;

const NFT_GOTO: u32 = (-4_i32).cast_unsigned();
const NF_DROP: u32 = 0;
const NFT_CT_STATUS: u32 = 2;
const NFT_CT_MARK: u32 = 3;
const NFT_CT_PROTO_DST: u32 = 12;
const NFT_CT_ZONE: u32 = 17;
const NFT_CT_DST_IP: u32 = 20;
const NFT_CT_DST_IP6: u32 = 22;
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
const ORIGINAL: u8 = 0;
/// `IPS_DST_NAT`.
const DESTINATION_TRANSLATED: u32 = 1 << 5;
const NFT_REJECT_TCP_RST: u32 = 1;
const NFT_REJECT_ICMPX_UNREACH: u32 = 2;
const NFT_REJECT_ICMPX_PORT_UNREACH: u8 = 1;
const LINK_HEADER: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const NFT_DYNSET_OP_UPDATE: u32 = 1;
/// `NFT_PAYLOAD_L4CSUM_PSEUDOHDR`: the transport's checksum covers the addresses.
const PSEUDO_HEADER: u32 = 1;

/// What `meta` reads (`NFT_META_…`).
#[derive(Clone, Copy)]
pub(super) enum Meta {
    Mark = 3,
    EnteredBy = 6,
    LeavesBy = 7,
    LinkType = 8,
    Family = 15,
    Protocol = 16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Equal = 0,
    Different = 1,
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Registers that an address takes.
    pub(super) fn words(self) -> u32 {
        match self {
            Self::V4 => 1,
            Self::V6 => 4,
        }
    }

    pub(super) fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    fn source_offset(self) -> u32 {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }

    fn destination_offset(self) -> u32 {
        self.source_offset() + 4 * self.words()
    }
}

/// A rule's expressions, first to last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule(Vec<u8>);

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The expressions as they are sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn then(mut self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::new().text(NAME, name).nested(DATA, data);
        self.0.extend_from_slice(Attributes::new().nested(ELEMENT, &expression).as_bytes());
        self
    }

    pub(super) fn meta(self, key: Meta, to: u32) -> Self {
        self.then("meta", &Attributes::new().be32(1, FIRST_WORD + to).be32(2, key as u32))
    }

    /// Goes on only if the registers hold (or do not hold) these bytes.
    pub(super) fn compare(self, register: u32, is: Is, value: &[u8]) -> Self {
        let value = Attributes::new().bytes(VALUE, value);
        let data = Attributes::new().be32(1, FIRST_WORD + register).be32(2, is as u32).nested(3, &value);
        self.then("cmp", &data)
    }

    pub(super) fn family(self, family: Family) -> Self {
        self.meta(Meta::Family, 0).compare(0, Is::Equal, &[family.number()])
    }

    pub(super) fn protocol(self, number: u8) -> Self {
        self.meta(Meta::Protocol, 0).compare(0, Is::Equal, &[number])
    }

    /// Compares `iifname` or `oifname`.
    pub(super) fn link(self, which: Meta, is: Is, name: &str) -> Self {
        let mut padded = name.as_bytes().to_vec();
        padded.resize(16, 0);
        self.meta(which, 0).compare(0, is, &padded)
    }

    fn payload(self, header: u32, offset: u32, length: u32, to: u32) -> Self {
        let data = Attributes::new().be32(1, FIRST_WORD + to).be32(2, header).be32(3, offset).be32(4, length);
        self.then("payload", &data)
    }

    pub(super) fn source(self, family: Family, to: u32) -> Self {
        self.payload(NETWORK_HEADER, family.source_offset(), 4 * family.words(), to)
    }

    pub(super) fn destination(self, family: Family, to: u32) -> Self {
        self.payload(NETWORK_HEADER, family.destination_offset(), 4 * family.words(), to)
    }

    pub(super) fn source_port(self, to: u32) -> Self {
        self.payload(TRANSPORT_HEADER, 0, 2, to)
    }

    pub(super) fn destination_port(self, to: u32) -> Self {
        self.payload(TRANSPORT_HEADER, 2, 2, to)
    }

    /// The sender's Ethernet address, into two registers.
    pub(super) fn ethernet_source(self, to: u32) -> Self {
        let ethernet = self.meta(Meta::LinkType, to).compare(to, Is::Equal, &ETHERNET.to_ne_bytes());
        ethernet.payload(LINK_HEADER, 6, 6, to)
    }

    /// Goes on only if the TCP packet is no reset.
    pub(super) fn no_reset(self) -> Self {
        self.payload(TRANSPORT_HEADER, 13, 1, 0).masked(0, &[4]).compare(0, Is::Equal, &[0])
    }

    /// Goes on only if the destination lies in 127.0.0.0/8.
    pub(super) fn asks_loopback(self) -> Self {
        self.payload(NETWORK_HEADER, 16, 1, 0).compare(0, Is::Equal, &[127])
    }

    /// Goes on only if the source lies in 127.0.0.0/8.
    pub(super) fn comes_from_loopback(self) -> Self {
        self.payload(NETWORK_HEADER, 12, 1, 0).compare(0, Is::Equal, &[127])
    }

    fn masked(self, register: u32, mask: &[u8]) -> Self {
        let value = |bytes: &[u8]| Attributes::new().bytes(VALUE, bytes);
        let data = Attributes::new()
            .be32(1, FIRST_WORD + register)
            .be32(2, FIRST_WORD + register)
            .be32(3, u32::try_from(mask.len()).unwrap_or(0))
            .nested(4, &value(mask))
            .nested(5, &value(&vec![0; mask.len()]));
        self.then("bitwise", &data)
    }

    pub(super) fn immediate(self, to: u32, value: &[u8]) -> Self {
        let value = Attributes::new().bytes(VALUE, value);
        self.then("immediate", &Attributes::new().be32(1, FIRST_WORD + to).nested(2, &value))
    }

    /// Goes on only if the registers from `key` on are in the set, or not.
    pub(super) fn in_set(self, set: &str, key: u32, is: Is) -> Self {
        let data = Attributes::new().text(1, set).be32(2, FIRST_WORD + key).be32(5, is as u32);
        self.then("lookup", &data)
    }

    /// What the map holds for the registers from `key` on; goes on only if there is something.
    pub(super) fn map(self, map: &str, key: u32, to: u32) -> Self {
        let data = Attributes::new().text(1, map).be32(2, FIRST_WORD + key).be32(3, FIRST_WORD + to);
        self.then("lookup", &data)
    }

    /// Goes where the map of verdicts leads.
    pub(super) fn go_by(self, map: &str, key: u32) -> Self {
        let data = Attributes::new().text(1, map).be32(2, FIRST_WORD + key).be32(3, VERDICT_REGISTER);
        self.then("lookup", &data)
    }

    /// Notes key (and data) in a set that fills itself, for so long after the last time.
    pub(super) fn note(self, set: &str, key: u32, data: Option<u32>, lasts: Duration) -> Self {
        let milliseconds = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let attributes =
            Attributes::new().text(1, set).be32(3, NFT_DYNSET_OP_UPDATE).be32(4, FIRST_WORD + key);
        let attributes = match data {
            Some(data) => attributes.be32(5, FIRST_WORD + data),
            None => attributes,
        };
        self.then("dynset", &attributes.bytes(6, &milliseconds.to_be_bytes()))
    }

    /// One after the other of `0..modulus`; the turn is the rule's own.
    pub(super) fn next_of(self, modulus: u32, to: u32) -> Self {
        self.then(
            "numgen",
            &Attributes::new().be32(1, FIRST_WORD + to).be32(2, modulus).be32(3, 0).be32(4, 0),
        )
    }

    /// A number below `modulus` by the bytes of the registers: the same on every node.
    pub(super) fn hash(self, from: u32, length: u32, modulus: u32, to: u32) -> Self {
        let data = Attributes::new()
            .be32(1, FIRST_WORD + from)
            .be32(2, FIRST_WORD + to)
            .be32(3, length)
            .be32(4, modulus)
            .be32(5, HASH_SEED)
            .be32(6, 0)
            .be32(7, 0);
        self.then("hash", &data)
    }

    /// Goes on only with connections whose destination was translated, or was not.
    pub(super) fn translated(self, yes: bool) -> Self {
        self.then("ct", &Attributes::new().be32(1, FIRST_WORD).be32(2, NFT_CT_STATUS))
            .masked(0, &DESTINATION_TRANSLATED.to_ne_bytes())
            .compare(0, if yes { Is::Different } else { Is::Equal }, &[0; 4])
    }

    fn original(self, key: u32, to: u32) -> Self {
        let data = Attributes::new().be32(1, FIRST_WORD + to).be32(2, key).bytes(3, &[ORIGINAL]);
        self.then("ct", &data)
    }

    /// The address that the connection asked for.
    pub(super) fn asked_address(self, family: Family, to: u32) -> Self {
        self.original(if family == Family::V4 { NFT_CT_DST_IP } else { NFT_CT_DST_IP6 }, to)
    }

    /// The port that the connection asked for.
    pub(super) fn asked_port(self, to: u32) -> Self {
        self.original(NFT_CT_PROTO_DST, to)
    }

    pub(super) fn connection_mark(self, to: u32) -> Self {
        self.then("ct", &Attributes::new().be32(1, FIRST_WORD + to).be32(2, NFT_CT_MARK))
    }

    pub(super) fn set_connection_mark(self, from: u32) -> Self {
        self.then("ct", &Attributes::new().be32(2, NFT_CT_MARK).be32(4, FIRST_WORD + from))
    }

    /// Puts the packet's connection into a zone of its own, as far as its own direction goes.
    pub(super) fn set_zone(self, from: u32) -> Self {
        let data = Attributes::new().be32(2, NFT_CT_ZONE).bytes(3, &[ORIGINAL]).be32(4, FIRST_WORD + from);
        self.then("ct", &data)
    }

    pub(super) fn set_mark(self, from: u32) -> Self {
        self.then("meta", &Attributes::new().be32(2, Meta::Mark as u32).be32(3, FIRST_WORD + from))
    }

    /// Writes the source address, checksums included.
    pub(super) fn set_source(self, family: Family, from: u32) -> Self {
        let data = Attributes::new()
            .be32(5, FIRST_WORD + from)
            .be32(2, NETWORK_HEADER)
            .be32(3, family.source_offset())
            .be32(4, 4 * family.words());
        // IPv6 has no checksum of its own.
        let data = match family {
            Family::V4 => data.be32(6, 1).be32(7, 10),
            Family::V6 => data.be32(6, 0).be32(7, 0),
        };
        self.then("payload", &data.be32(8, PSEUDO_HEADER))
    }

    /// `dnat` to the address in the registers, and to the port in the one after it.
    pub(super) fn translate(self, family: Family, address: u32, with_port: bool) -> Self {
        let data =
            Attributes::new().be32(1, 1).be32(2, u32::from(family.number())).be32(3, FIRST_WORD + address);
        let port = FIRST_WORD + address + family.words();
        self.then("nat", &if with_port { data.be32(5, port) } else { data })
    }

    /// `snat` to the address in the registers.
    pub(super) fn translate_source(self, family: Family, address: u32) -> Self {
        let data =
            Attributes::new().be32(1, 0).be32(2, u32::from(family.number())).be32(3, FIRST_WORD + address);
        self.then("nat", &data)
    }

    pub(super) fn masquerade(self) -> Self {
        self.then("masq", &Attributes::new())
    }

    pub(super) fn count(self) -> Self {
        self.then("counter", &Attributes::new())
    }

    pub(super) fn drop_it(self) -> Self {
        let verdict = Attributes::new().be32(VERDICT_CODE, NF_DROP);
        let data = Attributes::new().nested(VERDICT, &verdict);
        self.then("immediate", &Attributes::new().be32(1, VERDICT_REGISTER).nested(2, &data))
    }

    pub(super) fn reset(self) -> Self {
        self.then("reject", &Attributes::new().be32(1, NFT_REJECT_TCP_RST).bytes(2, &[0]))
    }

    pub(super) fn refuse(self) -> Self {
        let data =
            Attributes::new().be32(1, NFT_REJECT_ICMPX_UNREACH).bytes(2, &[NFT_REJECT_ICMPX_PORT_UNREACH]);
        self.then("reject", &data)
    }
}

/// Fixed, so that every node hashes alike.
const HASH_SEED: u32 = 0x5348_4f41;

/// The data of a map's element that leads to a chain.
pub(super) fn goto(chain: &str) -> Attributes {
    let verdict = Attributes::new().be32(VERDICT_CODE, NFT_GOTO).text(VERDICT_CHAIN, chain);
    Attributes::new().nested(VERDICT, &verdict)
}

/// The data of an element's key, or of a plain map's element.
pub(super) fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(VALUE, bytes)
}

/// The address's bytes.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
