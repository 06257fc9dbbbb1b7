//! Shoal's own packet-filter table: written as a whole in one transaction, read back by the comment that every rule in
//! it carries. One declared rule becomes one or more of the kernel's; it counts as present only if all of them are.

mod compile;
mod expressions;
mod text;

use crate::Reason;
use crate::netlink::{Attributes, Reply, Request, Socket, read_attributes};
use compile::{Part, compile};
use shoal_model::netns::FirewallRule;
use shoal_netlink::netfilter;
use std::collections::{BTreeMap, BTreeSet};

// Numbers of linux/netfilter/nf_tables.h.
const NFT_MSG_NEWTABLE: u8 = 0;
const NFT_MSG_DELTABLE: u8 = 2;
const NFT_MSG_NEWCHAIN: u8 = 3;
const NFT_MSG_NEWRULE: u8 = 6;
const NFT_MSG_GETRULE: u8 = 7;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
/// Sort of a rule's user data that `nft` shows as its comment (libnftnl's `NFTNL_UDATA_RULE_COMMENT`).
const COMMENT: u8 = 0;

/// Replaces all rules of the table in one transaction; no rules, no table.
pub(crate) fn replace(socket: &mut Socket, table: &str, rules: &[FirewallRule]) -> Result<(), Reason> {
    let named = || Attributes::new().text(NFTA_TABLE_NAME, table);
    let mut requests = vec![
        netfilter::begin(),
        // Only a table that exists can be deleted, so it is made first.
        message(NFT_MSG_NEWTABLE, NLM_F_CREATE, &named()),
        message(NFT_MSG_DELTABLE, 0, &named()),
    ];
    let parts = compile_all(rules)?;
    if !parts.is_empty() {
        requests.push(message(NFT_MSG_NEWTABLE, NLM_F_CREATE, &named()));
    }
    let used: BTreeSet<compile::Chain> = parts.iter().map(|(_, part)| part.chain).collect();
    requests.extend(used.into_iter().map(|chain| new_chain(table, chain)));
    requests.extend(parts.iter().map(|(comment, part)| new_rule(table, comment, part)));
    Ok(socket.transaction(&requests, &netfilter::end())?)
}

/// The rules that are wholly there, in order. If anything else is in the table, none: it has to be replaced.
pub(crate) fn read(socket: &mut Socket, table: &str) -> Result<Vec<FirewallRule>, Reason> {
    let wanted = Attributes::new().text(NFTA_RULE_TABLE, table);
    let replies = socket.dump(&message(NFT_MSG_GETRULE, 0, &wanted))?;
    let mut present: BTreeMap<usize, (FirewallRule, Vec<(String, usize)>)> = BTreeMap::new();
    for (chain, comment) in replies.iter().filter_map(|reply| placed_comment(reply, table)) {
        let Some((index, part, rule)) = text::parse_comment(&comment) else { return Ok(Vec::new()) };
        let (known, parts) = present.entry(index).or_insert_with(|| (rule.clone(), Vec::new()));
        if *known != rule {
            return Ok(Vec::new());
        }
        parts.push((chain, part));
    }
    let whole = |(rule, mut found): (FirewallRule, Vec<(String, usize)>)| {
        let mut parts: Vec<_> =
            compile(&rule).ok()?.iter().enumerate().map(|(i, p)| (p.chain.name().to_owned(), i)).collect();
        parts.sort();
        found.sort();
        (parts == found).then_some(rule)
    };
    Ok(present.into_values().filter_map(whole).collect())
}

/// The bridges whose ports these rules keep apart.
pub(crate) fn isolated_bridges(rules: &[FirewallRule]) -> BTreeSet<String> {
    let bridge = |rule: &FirewallRule| match rule {
        FirewallRule::Isolate { bridge } => Some(bridge.clone()),
        _ => None,
    };
    rules.iter().filter_map(bridge).collect()
}

fn compile_all(rules: &[FirewallRule]) -> Result<Vec<(String, Part)>, Reason> {
    let mut parts = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for (number, part) in compile(rule)?.into_iter().enumerate() {
            parts.push((text::comment(index, number, rule), part));
        }
    }
    Ok(parts)
}

fn message(kind: u8, flags: u16, attributes: &Attributes) -> Request {
    netfilter::message(netfilter::NFTABLES, kind, flags, netfilter::INET, attributes)
}

fn new_chain(table: &str, chain: compile::Chain) -> Request {
    let hook = Attributes::new()
        .be32(NFTA_HOOK_HOOKNUM, chain.hook())
        .be32(NFTA_HOOK_PRIORITY, chain.priority().cast_unsigned());
    let attributes = Attributes::new()
        .text(NFTA_CHAIN_TABLE, table)
        .text(NFTA_CHAIN_NAME, chain.name())
        .nested(NFTA_CHAIN_HOOK, &hook)
        .text(NFTA_CHAIN_TYPE, chain.sort());
    message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &attributes)
}

fn new_rule(table: &str, comment: &str, part: &Part) -> Request {
    let mut user_data = vec![COMMENT, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
    user_data.extend_from_slice(comment.as_bytes());
    user_data.push(0);
    let attributes = Attributes::new()
        .text(NFTA_RULE_TABLE, table)
        .text(NFTA_RULE_CHAIN, part.chain.name())
        .nested(NFTA_RULE_EXPRESSIONS, &part.expressions)
        .bytes(NFTA_RULE_USERDATA, &user_data);
    message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, &attributes)
}

/// Chain and comment of a rule in our table; the comment is empty if it has none.
fn placed_comment(reply: &Reply, table: &str) -> Option<(String, String)> {
    let (mut chain, mut comment, mut ours) = (String::new(), String::new(), false);
    if reply.body.first() != Some(&netfilter::INET) {
        return None;
    }
    for (kind, value) in read_attributes(reply.body.get(netfilter::FAMILY_HEADER..)?) {
        match kind {
            NFTA_RULE_TABLE => ours = plain_text(value) == table,
            NFTA_RULE_CHAIN => chain = plain_text(value),
            // Sort and length are a byte each; ours is the only item.
            NFTA_RULE_USERDATA if value.first() == Some(&COMMENT) => {
                comment = plain_text(value.get(2..).unwrap_or_default());
            }
            _ => {}
        }
    }
    ours.then_some((chain, comment))
}

fn plain_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
