//! What a lab consists of, kept in `lab.json`: what cannot be seen from outside.

use crate::place::Place;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// A lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The program whose `daemon` command the hosts run.
    pub(crate) program: PathBuf,
    pub(crate) log_level: String,
    /// What balances on the hosts; labs of earlier programs have no say.
    #[serde(default = "usual_engine")]
    pub(crate) lb_engine: String,
    pub(crate) hosts: Vec<HostRecord>,
    /// Pairs of hosts that are parted.
    pub(crate) cuts: BTreeSet<(String, String)>,
}

/// A machine on the LAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// Its IPv6 address, in a lab that has them.
    #[serde(default)]
    pub(crate) address6: Option<Ipv6Addr>,
    pub(crate) role: Role,
}

/// What a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Manager,
    Worker,
    /// Outside the swarm.
    Client,
}

impl Role {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
            Self::Client => "client",
        }
    }
}

impl HostRecord {
    pub(crate) fn runs_a_daemon(&self) -> bool {
        self.role != Role::Client
    }

    fn new(name: String, last: u8, role: Role) -> Self {
        Self { name, address: Ipv4Addr::new(192, 168, 50, last), address6: None, role }
    }

    /// Its addresses, IPv4 first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.address.into()].into_iter().chain(self.address6.map(IpAddr::V6))
    }
}

/// The IPv6 address that ends in the same digits: 192.168.50.11 is `fd00:50::11`.
pub(crate) fn beside(address: Ipv4Addr) -> Ipv6Addr {
    let last = u16::from(address.octets()[3]);
    let digits = ((last / 100) << 8) | ((last / 10 % 10) << 4) | (last % 10);
    Ipv6Addr::new(0xfd00, 0x50, 0, 0, 0, 0, 0, digits)
}

fn usual_engine() -> String {
    "auto".to_owned()
}

/// Last byte of the first host's address.
const FIRST: u8 = 11;
/// Last byte of the client's.
const CLIENT: u8 = 100;

impl Record {
    /// The article's hosts: `swarm-manager` at .11, then `swarm-worker1` and so on; further managers come before the
    /// workers; and a client outside the swarm at .100.
    pub(crate) fn new(program: PathBuf, log_level: String, nodes: u8, managers: u8) -> anyhow::Result<Self> {
        if managers > nodes {
            bail!("{managers} managers need at least as many hosts, not {nodes}");
        }
        let mut hosts = Vec::new();
        for number in 0..nodes {
            let (name, role) = match number {
                0 => ("swarm-manager".to_owned(), Role::Manager),
                n if n < managers => (format!("swarm-manager{}", n + 1), Role::Manager),
                n => (format!("swarm-worker{}", n - managers + 1), Role::Worker),
            };
            hosts.push(HostRecord::new(name, FIRST + number, role));
        }
        hosts.push(HostRecord::new("client".into(), CLIENT, Role::Client));
        Ok(Self { program, log_level, lb_engine: usual_engine(), hosts, cuts: BTreeSet::new() })
    }

    /// The same hosts with IPv6 addresses beside the others.
    pub(crate) fn dual_stack(mut self) -> Self {
        for host in &mut self.hosts {
            host.address6 = Some(beside(host.address));
        }
        self
    }

    pub(crate) fn load(place: &Place) -> anyhow::Result<Self> {
        let path = place.record();
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                bail!("there is no lab {}: bring it up with `shoal lab --name {0} up`", place.name)
            }
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn save(&self, place: &Place) -> anyhow::Result<()> {
        let path = place.record();
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn host(&self, name: &str) -> anyhow::Result<&HostRecord> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| {
            let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
            format!("there is no host {name}; there are {}", names.join(", "))
        })
    }

    /// Those that run a daemon.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &HostRecord> {
        self.hosts.iter().filter(|host| host.runs_a_daemon())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_end_in_the_same_digits() {
        let record = Record::new("/bin/shoal".into(), "info".into(), 1, 1).unwrap().dual_stack();
        let shown: Vec<String> =
            record.hosts.iter().flat_map(HostRecord::addresses).map(|a| a.to_string()).collect();
        assert_eq!(shown, ["192.168.50.11", "fd00:50::11", "192.168.50.100", "fd00:50::100"]);
    }

    #[test]
    fn hosts_are_named_and_addressed_as_in_the_article() {
        let record = Record::new("/bin/shoal".into(), "info".into(), 4, 2).unwrap();
        let shown: Vec<String> =
            record.hosts.iter().map(|h| format!("{} {} {}", h.name, h.address, h.role.word())).collect();
        assert_eq!(
            shown,
            [
                "swarm-manager 192.168.50.11 manager",
                "swarm-manager2 192.168.50.12 manager",
                "swarm-worker1 192.168.50.13 worker",
                "swarm-worker2 192.168.50.14 worker",
                "client 192.168.50.100 client",
            ]
        );
        assert!(Record::new("/bin/shoal".into(), "info".into(), 1, 2).is_err());
        let error = record.host("swarm-worker9").unwrap_err().to_string();
        assert!(error.contains("there are swarm-manager, swarm-manager2"), "{error}");
    }
}
