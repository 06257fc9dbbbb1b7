//! What this crate needs from its process and the kernel: tried out in a throw-away namespace rather than guessed from
//! versions and configuration files.

use crate::host::{Host, HostConfig};
use crate::namespace::{self, THREAD_NAMESPACE};
use crate::session::Session;
use crate::{Reason, firewall, links, sysctl};
use nix::sched::{CloneFlags, unshare};
use shoal_model::netns::{FirewallRule, Link, LinkKind, NamespaceName};
use shoal_model::spec::Protocol;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// What is missing, one line each, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Missing {}

/// Capabilities by their number in linux/capability.h, with what they are for.
const CAPABILITIES: [(u32, &str, &str); 2] = [
    (12, "CAP_NET_ADMIN", "to make links, routes and packet-filter rules"),
    (21, "CAP_SYS_ADMIN", "to make and enter namespaces and to mount"),
];

/// Tries out everything that this crate does. Nothing is left behind.
pub fn check_requirements() -> Result<(), Missing> {
    let lacking = lacking_capabilities(&fs::read_to_string("/proc/thread-self/status").unwrap_or_default());
    if !lacking.is_empty() {
        return Err(Missing(lacking));
    }
    let missing = namespace::on_fresh_thread(try_out).unwrap_or_else(|error| vec![error.to_string()]);
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing)) }
}

fn lacking_capabilities(status: &str) -> Vec<String> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let lacks = |(number, _, _): &&(u32, &str, &str)| effective & (1_u64 << number) == 0;
    CAPABILITIES
        .iter()
        .filter(lacks)
        .map(|(_, name, purpose)| format!("the capability {name} is needed {purpose}: run as root"))
        .collect()
}

fn try_out() -> Vec<String> {
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        return vec![format!("network namespaces cannot be made (CONFIG_NET_NS): {errno}")];
    }
    let own = match File::open(THREAD_NAMESPACE) {
        Ok(own) => own,
        Err(error) => return vec![format!("/proc is needed: {error}")],
    };
    let config = HostConfig {
        netns_root: PathBuf::new(),
        owner: "shoal:trial".into(),
        nft_table: "shoal".into(),
        host_netns: None,
    };
    let host = Host { config, own };
    let mut session = Session::new(&host);
    let mut missing = Vec::new();
    let mut note = |needed: &str, result: Result<(), Reason>| {
        if let Err(reason) = result {
            missing.push(format!("the kernel cannot do {needed}: {reason}"));
        }
    };
    note("bridges (module bridge, CONFIG_BRIDGE)", trial_link(&mut session, "br0", LinkKind::Bridge));
    let vxlan = LinkKind::Vxlan { vni: 1, port: 4789, local: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    note("VXLAN (module vxlan, CONFIG_VXLAN)", trial_link(&mut session, "vxlan0", vxlan));
    let pair = LinkKind::Veth { peer_namespace: NamespaceName::Host, peer: "veth1".into() };
    note("pairs of links (module veth, CONFIG_VETH)", trial_link(&mut session, "veth0", pair));
    note(
        "packet filtering with translation (CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_FIB_INET, NFT_CT)",
        trial_firewall(&mut session),
    );
    note("forwarding (is /proc/sys writable?)", sysctl::write("net.ipv4.ip_forward", "1"));
    missing
}

fn trial_link(session: &mut Session<'_>, name: &str, kind: LinkKind) -> Result<(), Reason> {
    let link = Link { kind, mac: None, mtu: 0, master: None, addresses: BTreeSet::new(), up: false };
    links::create(session, &NamespaceName::Host, name, &link, None)
}

fn trial_firewall(session: &mut Session<'_>) -> Result<(), Reason> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let rules = [
        FirewallRule::Masquerade { source: address.into(), bridge: "br0".into() },
        FirewallRule::Isolate { bridge: "br0".into() },
        FirewallRule::HostPort {
            protocol: Protocol::Tcp,
            published: 1,
            address,
            target: 1,
            client: None,
            at: None,
        },
    ];
    firewall::replace(&mut session.namespace(&NamespaceName::Host)?.filter, "shoal", &rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_capabilities_is_told_which() {
        let lacking = lacking_capabilities("Name:\tx\nCapEff:\t0000000000001000\n");
        assert_eq!(lacking.len(), 1);
        assert!(lacking[0].contains("CAP_SYS_ADMIN"), "{lacking:?}");
        assert_eq!(lacking_capabilities("CapEff:\t000001ffffffffff\n"), Vec::<String>::new());
        assert_eq!(lacking_capabilities("").len(), 2);
    }
}
