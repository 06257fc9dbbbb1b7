//! What a declared rule is made of in the kernel.

use super::expressions::{Expressions, Is, Side};
use crate::Reason;
use crate::netlink::Attributes;
use ipnet::IpNet;
use shoal_model::netns::FirewallRule;
use std::net::{IpAddr, Ipv4Addr};

/// The chains of the table; only those with rules in them are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chain {
    /// Before connections are tracked.
    Guard,
    Prerouting,
    Forward,
    Output,
    Postrouting,
}

impl Chain {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Prerouting => "prerouting",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }

    /// Sort of chain in the kernel's words.
    pub(crate) fn sort(self) -> &'static str {
        match self {
            Self::Guard | Self::Forward => "filter",
            Self::Prerouting | Self::Output | Self::Postrouting => "nat",
        }
    }

    /// Where it is called (`NF_INET_…` of `linux/netfilter.h`).
    pub(crate) fn hook(self) -> u32 {
        match self {
            Self::Guard | Self::Prerouting => 0,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }

    /// When it is called (`NF_IP_PRI_…` of `linux/netfilter_ipv4.h`: raw, dstnat, filter, srcnat).
    pub(crate) fn priority(self) -> i32 {
        match self {
            Self::Guard => -300,
            Self::Prerouting | Self::Output => -100,
            Self::Forward => 0,
            Self::Postrouting => 100,
        }
    }
}

/// One rule of the kernel.
pub(crate) struct Part {
    pub(crate) chain: Chain,
    pub(crate) expressions: Attributes,
}

fn part(chain: Chain, expressions: Expressions) -> Part {
    Part { chain, expressions: expressions.into_attributes() }
}

/// Longest name of a link.
const NAME_BYTES: usize = 15;

/// The kernel's rules for a declared one.
pub(crate) fn compile(rule: &FirewallRule) -> Result<Vec<Part>, Reason> {
    match rule {
        FirewallRule::Masquerade { bridge, .. } | FirewallRule::Isolate { bridge }
            if bridge.is_empty() || bridge.len() > NAME_BYTES || bridge.contains(char::is_whitespace) =>
        {
            Err(Reason::Impossible("a packet-filter rule needs a bridge's name of 1 to 15 bytes"))
        }
        FirewallRule::Masquerade { source, bridge } => Ok(masquerade(*source, bridge)),
        FirewallRule::Isolate { bridge } => Ok(vec![isolate(bridge)]),
        FirewallRule::HostPort { protocol, published, address, target, client, at } => {
            let from = client.iter().fold(Expressions::new().family_of(*address), |from, network| {
                from.address_in(Side::Source, *network)
            });
            let asked = asked_for(from, protocol.ip_number(), *published, *at);
            Ok(host_port(&asked, *address, *target))
        }
        FirewallRule::ClosedPort { protocol, published, at } => {
            let asked = asked_for(Expressions::new(), protocol.ip_number(), *published, *at);
            Ok([Chain::Prerouting, Chain::Output].map(|chain| part(chain, asked.clone().drop_it())).into())
        }
    }
}

/// Packets to a port of the node itself, or of one of its addresses.
fn asked_for(from: Expressions, protocol: u8, published: u16, at: Option<IpAddr>) -> Expressions {
    let here = at
        .iter()
        .fold(from.sent_to_own_address(), |here, at| here.address_in(Side::Destination, IpNet::from(*at)));
    here.sent_to_port(protocol, published)
}

fn masquerade(source: IpNet, bridge: &str) -> Vec<Part> {
    let from = || Expressions::new().address_in(Side::Source, source);
    vec![
        part(Chain::Postrouting, from().leaves_by(Is::Different, bridge).masquerade()),
        // A container that goes by a host-mode port to another one (or to itself) on the same bridge: without this,
        // the answer would take the short way over the bridge and not be translated back.
        part(Chain::Postrouting, from().leaves_by(Is::Equal, bridge).translated(Is::Equal).masquerade()),
    ]
}

/// What is routed from the bridge to the bridge, unless it goes by a host-mode port. Frames that the bridge passes
/// from port to port come here only with `br_netfilter`; else the ports are isolated for those.
fn isolate(bridge: &str) -> Part {
    let between = Expressions::new().entered_by(Is::Equal, bridge).leaves_by(Is::Equal, bridge);
    part(Chain::Forward, between.translated(Is::Different).drop_it())
}

fn host_port(asked: &Expressions, address: IpAddr, target: u16) -> Vec<Part> {
    let translated = || asked.clone().translate_to(address, target);
    let mut parts = vec![part(Chain::Prerouting, translated()), part(Chain::Output, translated())];
    if let Ok(loopback) = IpNet::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8)
        && address.is_ipv4()
    {
        // The node's own connections to 127.0.0.1 must not carry that address onto the bridge…
        let from_loopback = Expressions::new()
            .address_in(Side::Source, loopback)
            .address_in(Side::Destination, address.into());
        parts.push(part(Chain::Postrouting, from_loopback.masquerade()));
        // …and as they need `route_localnet`, nobody outside may use it to reach services on 127.0.0.1.
        let intruder =
            Expressions::new().entered_by(Is::Different, "lo").address_in(Side::Destination, loopback);
        parts.push(part(Chain::Guard, intruder.drop_it()));
    }
    parts
}
