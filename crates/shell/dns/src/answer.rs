//! From a query and a zone to a reply. Pure: no sockets, no clock.

use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use shoal_model::dns::{TTL_SECONDS, Zone};
use std::net::IpAddr;

/// Length of the fixed header in octets (RFC 1035, 4.1.1).
pub(crate) const HEADER_LENGTH: usize = 12;
/// Longest UDP message without EDNS in octets (RFC 1035, 4.2.1).
const PLAIN_UDP_LIMIT: u16 = 512;
/// What this server takes over UDP in octets; it is only ever reached over a loopback device.
const OWN_UDP_LIMIT: u16 = 4096;

/// How a query came in, which bounds how long its reply may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram: 512 octets or what the client says by EDNS.
    Udp,
    /// A stream with 16-bit lengths: 65535 octets.
    Tcp,
}

/// What to do with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send these octets back.
    Reply(Vec<u8>),
    /// The zone knows nothing of the name: ask the servers outside.
    Forward,
    /// Not a query: silence is the only safe reply.
    Drop,
}

/// Answers `query` from `zone`. `rotation` says how far lists of addresses are turned, so that successive queries
/// spread over them.
pub fn answer(query: &[u8], zone: &Zone, rotation: u32, transport: Transport) -> Answer {
    if request_id(query).is_none() {
        return Answer::Drop;
    }
    let Ok(message) = Message::from_vec(query) else {
        return failure(query, ResponseCode::FormErr).map_or(Answer::Drop, Answer::Reply);
    };
    let (records, code) = match examine(&message, zone, rotation) {
        Verdict::Records(records) => (records, ResponseCode::NoError),
        Verdict::Code(code) => (Vec::new(), code),
        Verdict::Forward => return Answer::Forward,
    };
    let mut reply = reply_to(&message, code);
    reply.answers = records;
    let limit = match (transport, &message.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP_LIMIT, OWN_UDP_LIMIT),
        (Transport::Udp, None) => PLAIN_UDP_LIMIT,
    };
    fitted(reply, usize::from(limit))
}

/// A reply to `query` without records that carries `code`; nothing where `query` is no query.
pub(crate) fn failure(query: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let id = request_id(query)?;
    let reply = match Message::from_vec(query) {
        Ok(message) => reply_to(&message, code),
        Err(_) => Message::error_msg(id, OpCode::Query, code),
    };
    reply.to_vec().ok()
}

fn reply_to(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&query.metadata);
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.queries.clone_from(&query.queries);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(OWN_UDP_LIMIT);
        reply.set_edns(edns);
    }
    reply
}

/// The longest datagram that the sender of `query` takes, in octets.
pub(crate) fn udp_limit(query: &[u8]) -> usize {
    let edns = Message::from_vec(query).ok().and_then(|message| message.edns);
    usize::from(edns.map_or(PLAIN_UDP_LIMIT, |edns| edns.max_payload().max(PLAIN_UDP_LIMIT)))
}

enum Verdict {
    Records(Vec<Record>),
    Code(ResponseCode),
    Forward,
}

/// The id of a message that is long enough to have one and that is a query, not a response: answering responses would
/// let two servers keep each other busy.
fn request_id(query: &[u8]) -> Option<u16> {
    let header = query.get(..HEADER_LENGTH)?;
    (header[2] & 0x80 == 0).then(|| u16::from_be_bytes([header[0], header[1]]))
}

fn examine(message: &Message, zone: &Zone, rotation: u32) -> Verdict {
    if message.metadata.op_code != OpCode::Query {
        return Verdict::Code(ResponseCode::NotImp);
    }
    let [query] = message.queries.as_slice() else { return Verdict::Code(ResponseCode::FormErr) };
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Verdict::Code(ResponseCode::BADVERS);
    }
    let known = match query.query_class {
        DNSClass::IN | DNSClass::ANY => known_records(query, zone, rotation),
        _ => None,
    };
    match known {
        Some(records) => Verdict::Records(records),
        None if zone.forwards => Verdict::Forward,
        None => Verdict::Code(ResponseCode::NXDomain),
    }
}

/// The records of a name that the zone holds; empty when it has none of the type, `None` when the name is not here.
fn known_records(query: &Query, zone: &Zone, rotation: u32) -> Option<Vec<Record>> {
    let record = |data| Record::from_rdata(query.name.clone(), TTL_SECONDS, data);
    if let Some(addresses) = zone.names.get(&zone_key(&query.name)) {
        let of_type = |address: &&IpAddr| match query.query_type {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            RecordType::ANY => true,
            _ => false,
        };
        let mut data: Vec<RData> = addresses.iter().filter(of_type).map(address_data).collect();
        turn(&mut data, rotation);
        return Some(data.into_iter().map(record).collect());
    }
    let name = zone.reverse.get(&reversed_address(&query.name)?)?;
    if !matches!(query.query_type, RecordType::PTR | RecordType::ANY) {
        return Some(Vec::new());
    }
    let mut target = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    target.set_fqdn(true);
    Some(vec![record(RData::PTR(PTR(target)))])
}

fn address_data(address: &IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    }
}

fn turn<T>(items: &mut [T], rotation: u32) {
    if !items.is_empty() {
        let steps = usize::try_from(rotation).unwrap_or_default() % items.len();
        items.rotate_left(steps);
    }
}

/// The form of a name in the zone: lower case, no dot at the end.
fn zone_key(name: &Name) -> String {
    let mut text = name.to_lowercase().to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

/// The address that an `in-addr.arpa` or `ip6.arpa` name stands for, when it is a whole one.
fn reversed_address(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// Encodes `reply` within `limit` octets, with the flag of truncation and as many records as fit where it is longer.
fn fitted(mut reply: Message, limit: usize) -> Answer {
    let Ok(whole) = reply.to_vec() else { return truncated_to(reply, limit) };
    if whole.len() <= limit {
        return Answer::Reply(whole);
    }
    reply.metadata.truncation = true;
    truncated_to(reply, limit)
}

fn truncated_to(mut reply: Message, limit: usize) -> Answer {
    reply.metadata.truncation = true;
    let records = std::mem::take(&mut reply.answers);
    let (mut fits, mut too_many) = (0, records.len());
    let mut best = reply.to_vec().ok();
    while fits + 1 < too_many {
        let count = fits.midpoint(too_many);
        reply.answers = records[..count].to_vec();
        match reply.to_vec() {
            Ok(octets) if octets.len() <= limit => (best, fits) = (Some(octets), count),
            _ => too_many = count,
        }
    }
    best.map_or(Answer::Drop, Answer::Reply)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
