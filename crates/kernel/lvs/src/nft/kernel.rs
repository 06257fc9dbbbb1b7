//! The table as the kernel holds it, and the messages that change it. Numbers are those of
//! `linux/netfilter/nf_tables.h`.

use super::expressions::{Rule, goto, value};
use super::ruleset::{Base, Chain, Content, Element, Field, Holds, Set, Sort};
use nix::errno::Errno;
use shoal_netlink::{Attributes, Error, Reply, Request, Socket, netfilter, read_attributes};
use std::collections::BTreeMap;

const NEW_TABLE: u8 = 0;
const GET_TABLE: u8 = 1;
const DELETE_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const GET_CHAIN: u8 = 4;
const DELETE_CHAIN: u8 = 5;
const NEW_RULE: u8 = 6;
const GET_RULE: u8 = 7;
const DELETE_RULE: u8 = 8;
const NEW_SET: u8 = 9;
const GET_SET: u8 = 10;
const DELETE_SET: u8 = 11;
const NEW_ELEMENT: u8 = 12;
const GET_ELEMENT: u8 = 13;
const DELETE_ELEMENT: u8 = 14;

const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// `NFTA_TABLE_NAME`, and the table's name in chains, rules, sets and lists of elements.
const TABLE: u16 = 1;
/// The set's name in sets and lists of elements; the chain's in rules.
const OWNER: u16 = 2;
const ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const SET_FLAGS: u16 = 3;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_LENGTH: u16 = 7;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_EXPRESSION: u16 = 7;
const ELEMENT_KEY_END: u16 = 10;

const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const TIMEOUT: u32 = 0x10;
const EVALUATED: u32 = 0x20;
const CONCATENATION: u32 = 0x80;
/// `NFT_DATA_VERDICT`.
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// Elements of a set that fills itself at most.
const DYNAMIC_ELEMENTS: u32 = 262_144;
/// Elements in one message: the list's length has 16 bits.
const ELEMENTS_PER_MESSAGE: usize = 256;
/// Sort of a rule's user data that `nft` shows as its comment.
const COMMENT: u8 = 0;

/// An element in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldElement {
    pub(super) content: Content,
    pub(super) end: Option<Vec<u8>>,
    /// Packets that found it, where the set counts.
    pub(super) packets: u64,
}

/// A chain in the kernel: where it is called, and the marks of its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HeldChain {
    /// Sort, hook and priority of a base chain.
    pub(super) base: Option<(String, u32, i32)>,
    pub(super) rules: Vec<HeldRule>,
}

/// A rule in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldRule {
    pub(super) mark: String,
    /// Of its counter, if it has one.
    pub(super) packets: u64,
}

/// Lengths and flags of a set.
pub(super) type Shape = (u32, u32, u32);

/// The table in the kernel.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) exists: bool,
    pub(super) sets: BTreeMap<String, Shape>,
    pub(super) chains: BTreeMap<String, HeldChain>,
    pub(super) elements: BTreeMap<(String, Vec<u8>), HeldElement>,
    /// What maps of affinities filled themselves with: set, key and real server.
    pub(super) affinities: Vec<(String, Vec<u8>, Vec<u8>)>,
}

/// One table, spoken of over a socket of its namespace.
pub(super) struct Table<'a> {
    pub(super) name: &'a str,
}

impl Table<'_> {
    fn message(&self, kind: u8, flags: u16, attributes: impl FnOnce(Attributes) -> Attributes) -> Request {
        let named = Attributes::new().text(TABLE, self.name);
        netfilter::message(netfilter::NFTABLES, kind, flags, netfilter::INET, &attributes(named))
    }

    /// Everything in the table; sets that fill themselves without their elements.
    pub(super) fn read(&self, socket: &mut Socket) -> Result<Held, Error> {
        let mut held = Held::default();
        match socket.request(&self.message(GET_TABLE, 0, |a| a)) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => return Ok(held),
            result => drop(result?),
        }
        held.exists = true;
        for reply in self.dump(socket, GET_SET)? {
            let set = SeenSet::read(&reply);
            held.sets.insert(set.name, set.shape);
        }
        for reply in self.dump(socket, GET_CHAIN)? {
            let (name, base) = read_chain(&reply);
            held.chains.insert(name, HeldChain { base, rules: Vec::new() });
        }
        for reply in self.dump(socket, GET_RULE)? {
            let (chain, rule) = read_rule(&reply);
            held.chains.entry(chain).or_default().rules.push(rule);
        }
        for (set, (_, _, flags)) in held.sets.clone() {
            let fills_itself = flags & EVALUATED != 0;
            if fills_itself && flags & MAP == 0 {
                continue;
            }
            let request = self.message(GET_ELEMENT, 0, |a| a.text(OWNER, &set));
            for (key, element) in socket.dump(&request)?.iter().flat_map(read_elements) {
                match element.content {
                    Content::Bytes(server) if fills_itself => {
                        held.affinities.push((set.clone(), key, server));
                    }
                    _ => drop(held.elements.insert((set.clone(), key), element)),
                }
            }
        }
        Ok(held)
    }

    fn dump(&self, socket: &mut Socket, kind: u8) -> Result<Vec<Reply>, Error> {
        let replies = socket.dump(&self.message(kind, 0, |a| a))?;
        let ours = |reply: &Reply| {
            body(reply).any(|(kind, value)| kind == TABLE && text(value) == self.name)
                && reply.body.first() == Some(&netfilter::INET)
        };
        Ok(replies.into_iter().filter(ours).collect())
    }

    pub(super) fn make(&self) -> Request {
        self.message(NEW_TABLE, CREATE, |a| a)
    }

    pub(super) fn remove(&self) -> Request {
        self.message(DELETE_TABLE, 0, |a| a)
    }

    pub(super) fn make_chain(&self, name: &str, chain: &Chain) -> Request {
        self.message(NEW_CHAIN, CREATE, |a| {
            let a = a.text(CHAIN_NAME, name);
            let Some(Base { sort, hook, priority }) = chain.base else { return a };
            let place = Attributes::new().be32(1, hook as u32).be32(2, priority.cast_unsigned());
            a.nested(CHAIN_HOOK, &place).text(CHAIN_TYPE, sort)
        })
    }

    pub(super) fn remove_chain(&self, name: &str) -> Request {
        self.message(DELETE_CHAIN, 0, |a| a.text(CHAIN_NAME, name))
    }

    pub(super) fn empty_chain(&self, name: &str) -> Request {
        self.message(DELETE_RULE, 0, |a| a.text(OWNER, name))
    }

    pub(super) fn append_rule(&self, chain: &str, rule: &Rule) -> Request {
        let comment = mark(rule);
        let mut user_data = vec![COMMENT, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
        user_data.extend_from_slice(comment.as_bytes());
        user_data.push(0);
        self.message(NEW_RULE, CREATE | APPEND, |a| {
            // A list is marked as nested by its type, as the element's are.
            a.text(OWNER, chain)
                .raw_nested(RULE_EXPRESSIONS, rule.as_bytes())
                .bytes(RULE_USER_DATA, &user_data)
        })
    }

    pub(super) fn make_set(&self, name: &str, set: &Set, number: u32) -> Request {
        let (key_length, data_length, flags) = shape(set);
        self.message(NEW_SET, CREATE, |a| {
            let a = a
                .text(OWNER, name)
                .be32(SET_FLAGS, flags)
                .be32(4, shown_as(&set.key))
                .be32(SET_KEY_LENGTH, key_length);
            let a = match &set.holds {
                Holds::Nothing => a,
                Holds::Verdict => a.be32(6, VERDICT_TYPE).be32(SET_DATA_LENGTH, 0),
                Holds::Fields(fields) => a.be32(6, shown_as(fields)).be32(SET_DATA_LENGTH, data_length),
            };
            let a = match set.sort {
                Sort::Plain => a,
                Sort::Counting => a.nested(17, &counter()),
                Sort::Dynamic => a.nested(9, &Attributes::new().be32(1, DYNAMIC_ELEMENTS)),
                Sort::Ranges => {
                    let fields = set.key.iter().fold(Attributes::new(), |list, field| {
                        list.nested(LIST_ELEMENT, &Attributes::new().be32(1, field.length()))
                    });
                    a.nested(9, &Attributes::new().nested(2, &fields))
                }
            };
            a.be32(10, number)
        })
    }

    pub(super) fn remove_set(&self, name: &str) -> Request {
        self.message(DELETE_SET, 0, |a| a.text(OWNER, name))
    }

    /// Messages that add elements to a set.
    pub(super) fn add_elements(
        &self,
        set: &str,
        counting: bool,
        elements: &[(&Vec<u8>, &Element)],
    ) -> Vec<Request> {
        let one = |(key, element): &(&Vec<u8>, &Element)| {
            let a = element_key(key, element.end.as_deref());
            let a = match &element.content {
                Content::Nothing => a,
                Content::Bytes(bytes) => a.nested(ELEMENT_DATA, &value(bytes)),
                Content::Goto(chain) => a.nested(ELEMENT_DATA, &goto(chain)),
            };
            if counting { a.nested(ELEMENT_EXPRESSION, &counter()) } else { a }
        };
        self.element_messages(NEW_ELEMENT, CREATE, set, elements.iter().map(one))
    }

    /// Messages that take elements from a set.
    pub(super) fn remove_elements(
        &self,
        set: &str,
        elements: &[(&Vec<u8>, Option<&Vec<u8>>)],
    ) -> Vec<Request> {
        let one = |(key, end): &(&Vec<u8>, Option<&Vec<u8>>)| element_key(key, end.map(Vec::as_slice));
        self.element_messages(DELETE_ELEMENT, 0, set, elements.iter().map(one))
    }

    fn element_messages(
        &self,
        kind: u8,
        flags: u16,
        set: &str,
        elements: impl Iterator<Item = Attributes>,
    ) -> Vec<Request> {
        let all: Vec<Attributes> = elements.collect();
        let message = |chunk: &[Attributes]| {
            let list = chunk.iter().fold(Attributes::new(), |list, one| list.nested(LIST_ELEMENT, one));
            self.message(kind, flags, |a| a.text(OWNER, set).nested(ELEMENTS, &list))
        };
        all.chunks(ELEMENTS_PER_MESSAGE).map(message).collect()
    }
}

/// Lengths and flags that the set should have.
pub(super) fn shape(set: &Set) -> Shape {
    let map = if set.holds == Holds::Nothing { 0 } else { MAP };
    let flags = match set.sort {
        Sort::Plain | Sort::Counting => map,
        Sort::Ranges => map | INTERVAL | CONCATENATION,
        Sort::Dynamic => map | TIMEOUT | EVALUATED,
    };
    let data = match &set.holds {
        Holds::Fields(fields) => padded(fields),
        Holds::Nothing | Holds::Verdict => 0,
    };
    (padded(&set.key), data, flags)
}

/// Bytes of the fields; one alone is not padded.
fn padded(fields: &[Field]) -> u32 {
    match fields {
        [only] => only.length(),
        _ => fields.iter().map(|field| field.length().next_multiple_of(4)).sum(),
    }
}

fn shown_as(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |shown, field| shown << 6 | field.shown_as())
}

fn counter() -> Attributes {
    Attributes::new().text(1, "counter").nested(2, &Attributes::new())
}

fn element_key(key: &[u8], end: Option<&[u8]>) -> Attributes {
    let a = Attributes::new().nested(ELEMENT_KEY, &value(key));
    match end {
        Some(end) => a.nested(ELEMENT_KEY_END, &value(end)),
        None => a,
    }
}

/// What tells a rule from every other: a digest (FNV-1a) of what was sent, kept as the rule's comment.
pub(super) fn mark(rule: &Rule) -> String {
    format!("shoal {:016x}", digest(rule.as_bytes()))
}

/// FNV-1a.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn body(reply: &Reply) -> impl Iterator<Item = (u16, &[u8])> {
    read_attributes(reply.body.get(netfilter::FAMILY_HEADER..).unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

struct SeenSet {
    name: String,
    shape: Shape,
}

impl SeenSet {
    fn read(reply: &Reply) -> Self {
        let mut seen = Self { name: String::new(), shape: (0, 0, 0) };
        let mut verdict = false;
        for (kind, value) in body(reply) {
            match kind {
                OWNER => seen.name = text(value),
                SET_KEY_LENGTH => seen.shape.0 = be32(value),
                SET_DATA_LENGTH => seen.shape.1 = be32(value),
                SET_FLAGS => seen.shape.2 = be32(value),
                6 => verdict = be32(value) == VERDICT_TYPE,
                _ => {}
            }
        }
        if verdict {
            // The kernel gives the length of its own structure.
            seen.shape.1 = 0;
        }
        seen
    }
}

fn read_chain(reply: &Reply) -> (String, Option<(String, u32, i32)>) {
    let (mut name, mut sort, mut place) = (String::new(), String::new(), None);
    for (kind, value) in body(reply) {
        match kind {
            CHAIN_NAME => name = text(value),
            CHAIN_TYPE => sort = text(value),
            CHAIN_HOOK => {
                let number =
                    |wanted| read_attributes(value).find(|(k, _)| *k == wanted).map(|(_, v)| be32(v));
                place = number(1).zip(number(2));
            }
            _ => {}
        }
    }
    (name, place.map(|(hook, priority)| (sort, hook, priority.cast_signed())))
}

fn read_rule(reply: &Reply) -> (String, HeldRule) {
    let (mut chain, mut rule) = (String::new(), HeldRule { mark: String::new(), packets: 0 });
    for (kind, value) in body(reply) {
        match kind {
            OWNER => chain = text(value),
            RULE_USER_DATA if value.first() == Some(&COMMENT) => {
                rule.mark = text(value.get(2..).unwrap_or_default());
            }
            RULE_EXPRESSIONS => {
                rule.packets = read_attributes(value).map(|(_, expression)| counted(expression)).sum();
            }
            _ => {}
        }
    }
    (chain, rule)
}

/// Packets of an expression, if it is a counter.
fn counted(expression: &[u8]) -> u64 {
    let find =
        |bytes, wanted| read_attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    if find(expression, 1).map(text).as_deref() != Some("counter") {
        return 0;
    }
    let packets = find(expression, 2).and_then(|data| find(data, 2));
    packets.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn read_elements(reply: &Reply) -> Vec<(Vec<u8>, HeldElement)> {
    let lists = body(reply).filter(|(kind, _)| *kind == ELEMENTS);
    lists.flat_map(|(_, list)| read_attributes(list)).map(|(_, element)| read_element(element)).collect()
}

fn read_element(bytes: &[u8]) -> (Vec<u8>, HeldElement) {
    let mut key = Vec::new();
    let mut held = HeldElement { content: Content::Nothing, end: None, packets: 0 };
    for (kind, value) in read_attributes(bytes) {
        match kind {
            ELEMENT_KEY => key = plain(value),
            ELEMENT_KEY_END => held.end = Some(plain(value)),
            ELEMENT_DATA => held.content = read_content(value),
            ELEMENT_EXPRESSION => held.packets = counted(value),
            _ => {}
        }
    }
    (key, held)
}

/// The bytes in a `NFTA_DATA_VALUE`.
fn plain(data: &[u8]) -> Vec<u8> {
    read_attributes(data).find(|(kind, _)| *kind == 1).map(|(_, bytes)| bytes.to_vec()).unwrap_or_default()
}

fn read_content(data: &[u8]) -> Content {
    let Some((_, verdict)) = read_attributes(data).find(|(kind, _)| *kind == 2) else {
        return Content::Bytes(plain(data));
    };
    let chain = read_attributes(verdict).find(|(kind, _)| *kind == 2);
    Content::Goto(chain.map(|(_, name)| text(name)).unwrap_or_default())
}
