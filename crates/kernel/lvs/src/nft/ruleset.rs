//! What one namespace's table should hold: sets with their elements, chains with their rules.

use super::expressions::{Family, Rule};
use crate::difference::Subject;
use std::collections::BTreeMap;

/// A part of a key or of a map's data. Each starts at a register of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Address(Family),
    Ethernet,
    Protocol,
    Port,
    /// A number in the machine's byte order: a slot, a mark.
    Number,
    /// A zone of connection tracking.
    Zone,
}

impl Field {
    /// Length in bytes.
    pub(super) fn length(self) -> u32 {
        match self {
            Self::Address(family) => 4 * family.words(),
            Self::Ethernet => 6,
            Self::Protocol => 1,
            Self::Port | Self::Zone => 2,
            Self::Number => 4,
        }
    }

    /// The number by which `nft` knows how to show it (its `datatypes`).
    pub(super) fn shown_as(self) -> u32 {
        match self {
            Self::Address(Family::V4) => 7,
            Self::Address(Family::V6) => 8,
            Self::Ethernet => 9,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Number => 19,
            Self::Zone => 41,
        }
    }
}

/// What a set holds for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    Nothing,
    Fields(Vec<Field>),
    Verdict,
}

/// A set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) key: Vec<Field>,
    pub(super) holds: Holds,
    pub(super) sort: Sort,
}

/// How a set is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// By us.
    Plain,
    /// By us; every element counts the packets that found it.
    Counting,
    /// By us, with ranges of keys.
    Ranges,
    /// By rules, for a while.
    Dynamic,
}

impl Set {
    pub(super) fn plain(key: &[Field]) -> Self {
        Self { key: key.to_vec(), holds: Holds::Nothing, sort: Sort::Plain }
    }

    pub(super) fn map(key: &[Field], data: &[Field]) -> Self {
        Self { key: key.to_vec(), holds: Holds::Fields(data.to_vec()), sort: Sort::Plain }
    }

    pub(super) fn verdicts(key: &[Field]) -> Self {
        Self { key: key.to_vec(), holds: Holds::Verdict, sort: Sort::Plain }
    }

    pub(super) fn sorted(self, sort: Sort) -> Self {
        Self { sort, ..self }
    }
}

/// What an element holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    Bytes(Vec<u8>),
    Goto(String),
}

/// An element that should be there.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) content: Content,
    /// The last key of a range.
    pub(super) end: Option<Vec<u8>>,
    /// What it is a part of.
    pub(super) subject: Subject,
}

/// Where a base chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) sort: &'static str,
    pub(super) hook: Hook,
    pub(super) priority: i32,
}

/// `NF_INET_…` of `linux/netfilter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting = 0,
    Input = 1,
    Output = 3,
    Postrouting = 4,
}

/// `NF_IP_PRI_…` of `linux/netfilter_ipv4.h`.
pub(super) mod priority {
    pub(crate) const BEFORE_TRACKING: i32 = -300;
    pub(crate) const MANGLE: i32 = -150;
    pub(crate) const DESTINATION: i32 = -100;
    pub(crate) const FILTER: i32 = 0;
    pub(crate) const SOURCE: i32 = 100;
    /// Before the host's own table masquerades.
    pub(crate) const BEFORE_SOURCE: i32 = 90;
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// Everything in one namespace's table.
#[derive(Debug, Clone, Default)]
pub(super) struct Ruleset {
    pub(super) sets: BTreeMap<String, Set>,
    pub(super) chains: BTreeMap<String, Chain>,
    /// By set and key.
    pub(super) elements: BTreeMap<(String, Vec<u8>), Element>,
}

impl Ruleset {
    pub(super) fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    pub(super) fn base_chain(
        &mut self,
        name: &str,
        (sort, hook, priority): (&'static str, Hook, i32),
        rules: Vec<Rule>,
    ) {
        let chain = self.chains.entry(name.to_owned()).or_default();
        chain.base = Some(Base { sort, hook, priority });
        chain.rules.extend(rules);
    }

    pub(super) fn add(&mut self, set: &str, key: Key, content: Content, subject: Subject) {
        self.elements.insert((set.to_owned(), key.0), Element { content, end: None, subject });
    }
}

/// Bytes of a key or of data, every field padded to whole registers.
#[derive(Debug, Clone, Default)]
pub(super) struct Key(pub(super) Vec<u8>);

impl Key {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn address(self, address: std::net::IpAddr) -> Self {
        self.bytes(&super::expressions::octets(address))
    }

    pub(super) fn port(self, port: u16) -> Self {
        self.bytes(&port.to_be_bytes())
    }

    pub(super) fn number(self, number: u32) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    pub(super) fn content(self) -> Content {
        Content::Bytes(self.0)
    }
}
