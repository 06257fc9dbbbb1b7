//! Who may use a service's published ports and on which of the nodes' addresses: the labels `shoal.publish.allow` and
//! `shoal.publish.on`, parsed once.
//!
//! A label holds groups parted by `;`. A group is a list parted by `,`, or `PORT[/PROTOCOL]=` and a list; a group without a
//! port is for every published port that has none of its own. With several services of different trust behind one port
//! range: `shoal.publish.allow=10.0.0.0/8; 8080=0.0.0.0/0,::/0; 53/udp=192.168.50.0/24`.

use crate::lvs::Access;
use crate::spec::{Labels, PortConfig, Protocol};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

/// Label with the networks of the clients that are let in.
pub const ALLOW_LABEL: &str = "shoal.publish.allow";
/// Label with the addresses or interfaces of the nodes that a port is published on.
pub const ON_LABEL: &str = "shoal.publish.on";
/// Longest name of an interface, bytes (`IFNAMSIZ` of linux/if.h less the zero).
const INTERFACE_BYTES: usize = 15;

/// What the labels ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publishing {
    allow: PerPort<IpNet>,
    on: PerPort<Place>,
}

/// Where a port is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Address(IpAddr),
    Interface(String),
}

/// What is asked for by port, and for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PerPort<T> {
    by_port: BTreeMap<(Protocol, u16), BTreeSet<T>>,
    others: Option<BTreeSet<T>>,
}

impl<T> Default for PerPort<T> {
    fn default() -> Self {
        Self { by_port: BTreeMap::new(), others: None }
    }
}

/// Why a label cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublishing {
    /// An item is not what the label holds.
    #[error("label {label}: {item:?} is not {wanted}")]
    Item {
        /// The label.
        label: &'static str,
        /// The item as written.
        item: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// The part before the `=` is not a port.
    #[error("label {label}: {port:?} is not a port such as 8080 or 53/udp")]
    Port {
        /// The label.
        label: &'static str,
        /// The port as written.
        port: String,
    },
    /// Two groups for one port, or two for the others.
    #[error("label {label}: {group} is given twice")]
    Twice {
        /// The label.
        label: &'static str,
        /// What is given twice.
        group: String,
    },
    /// The label names a port that the service does not publish.
    #[error("label {label}: port {port}/{protocol} is not published by the service")]
    NotPublished {
        /// The label.
        label: &'static str,
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
    },
}

impl Publishing {
    /// Reads the labels of a service.
    ///
    /// # Errors
    /// Names the label and what of it cannot be followed.
    pub fn parse(labels: &Labels) -> Result<Self, InvalidPublishing> {
        let text = |label: &str| labels.get(label).map(String::as_str);
        Ok(Self { allow: per_port(ALLOW_LABEL, text(ALLOW_LABEL))?, on: per_port(ON_LABEL, text(ON_LABEL))? })
    }

    /// Reads the labels of a service that was admitted. Should they be unreadable all the same, nothing is published:
    /// a port that was meant for few is never open to all.
    pub fn of_admitted(labels: &Labels) -> Self {
        let nowhere = PerPort { by_port: BTreeMap::new(), others: Some(BTreeSet::new()) };
        Self::parse(labels).unwrap_or(Self { allow: PerPort::default(), on: nowhere })
    }

    /// Whether every port that the labels name is among these.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self, ports: &[PortConfig]) -> Result<(), InvalidPublishing> {
        let named = self.allow.by_port.keys().map(|key| (ALLOW_LABEL, key));
        for (label, &(protocol, port)) in named.chain(self.on.by_port.keys().map(|key| (ON_LABEL, key))) {
            if !ports.iter().any(|p| (p.transport(), p.published_port) == (protocol, port)) {
                return Err(InvalidPublishing::NotPublished { label, port, protocol });
            }
        }
        Ok(())
    }

    /// Who may use a published port, and on which of a node's addresses, given those of its interfaces.
    pub fn access(
        &self,
        protocol: Protocol,
        published: u16,
        interfaces: &BTreeMap<String, BTreeSet<IpAddr>>,
    ) -> Access {
        let key = (protocol, published);
        let addresses = self.on.of(key).map(|places| {
            let of = |place: &Place| match place {
                Place::Address(address) => BTreeSet::from([*address]),
                Place::Interface(name) => interfaces.get(name).cloned().unwrap_or_default(),
            };
            places.iter().flat_map(of).collect()
        });
        Access { allow: self.allow.of(key).cloned().unwrap_or_default(), addresses }
    }
}

impl<T> PerPort<T> {
    fn of(&self, key: (Protocol, u16)) -> Option<&BTreeSet<T>> {
        self.by_port.get(&key).or(self.others.as_ref())
    }
}

/// An item of a label's lists.
trait Item: Sized + Ord {
    /// What it is, for the one who wrote something else.
    const WANTED: &'static str;
    fn parse(text: &str) -> Option<Self>;
}

impl Item for IpNet {
    const WANTED: &'static str = "a network such as 10.0.0.0/8 or an address";

    fn parse(text: &str) -> Option<Self> {
        let network = text.parse::<IpNet>().map(|network| network.trunc());
        network.or_else(|_| text.parse::<IpAddr>().map(Self::from)).ok()
    }
}

impl Item for Place {
    const WANTED: &'static str = "an address or the name of an interface";

    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let odd = |c: char| c.is_whitespace() || c == '/' || c == ':';
        let is_name = (1..=INTERFACE_BYTES).contains(&text.len()) && !text.contains(odd);
        is_name.then(|| Self::Interface(text.to_owned()))
    }
}

fn per_port<T: Item>(label: &'static str, text: Option<&str>) -> Result<PerPort<T>, InvalidPublishing> {
    let mut asked = PerPort::default();
    for group in text.into_iter().flat_map(|text| text.split(';')).map(str::trim) {
        let (port, list) = match group.split_once('=') {
            Some((port, list)) => (Some(port.trim()), list),
            None => (None, group),
        };
        let items = items(label, list)?;
        let earlier = match port {
            None => asked.others.replace(items),
            Some(port) => {
                let key = parse_port(port)
                    .ok_or_else(|| InvalidPublishing::Port { label, port: port.to_owned() })?;
                asked.by_port.insert(key, items)
            }
        };
        if earlier.is_some() {
            let group = port.unwrap_or("the group for all other ports").to_owned();
            return Err(InvalidPublishing::Twice { label, group });
        }
    }
    Ok(asked)
}

fn items<T: Item>(label: &'static str, list: &str) -> Result<BTreeSet<T>, InvalidPublishing> {
    let item = |text: &str| {
        let text = text.trim();
        T::parse(text).ok_or(InvalidPublishing::Item { label, item: text.to_owned(), wanted: T::WANTED })
    };
    list.split(',').map(item).collect()
}

fn parse_port(text: &str) -> Option<(Protocol, u16)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    let port = u16::from_str(port).ok().filter(|port| *port != 0)?;
    Some((protocol, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(allow: &str, on: &str) -> Labels {
        let pair = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        [pair(ALLOW_LABEL, allow), pair(ON_LABEL, on)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }

    fn access(allow: &str, on: &str, protocol: Protocol, port: u16) -> Access {
        let interfaces = BTreeMap::from([(
            "eth1".to_owned(),
            BTreeSet::from(["10.1.0.5".parse().unwrap(), "fd00::5".parse().unwrap()]),
        )]);
        Publishing::parse(&labels(allow, on)).unwrap().access(protocol, port, &interfaces)
    }

    fn nets(list: &[&str]) -> BTreeSet<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn without_labels_everyone_comes_in_everywhere() {
        assert_eq!(access("", "", Protocol::Tcp, 80), Access::default());
    }

    #[test]
    fn one_list_is_for_every_port() {
        let found = access("192.168.50.7/24, 10.0.0.1,fd00::/8", "", Protocol::Udp, 53);
        assert_eq!(found.allow, nets(&["192.168.50.0/24", "10.0.0.1/32", "fd00::/8"]));
    }

    #[test]
    fn a_port_of_its_own_wins_over_the_list_for_the_others() {
        let text = "10.0.0.0/8; 8080=0.0.0.0/0,::/0; 53/udp = 10.2.0.0/16";
        assert_eq!(access(text, "", Protocol::Tcp, 8080).allow, nets(&["0.0.0.0/0", "::/0"]));
        assert_eq!(access(text, "", Protocol::Udp, 53).allow, nets(&["10.2.0.0/16"]));
        assert_eq!(access(text, "", Protocol::Tcp, 53).allow, nets(&["10.0.0.0/8"]));
        assert!(access("8080=10.0.0.0/8", "", Protocol::Tcp, 81).allow.is_empty());
    }

    #[test]
    fn places_are_addresses_and_interfaces_of_the_node() {
        let on = |text: &str| access("", text, Protocol::Tcp, 80).addresses;
        let addresses = |list: &[&str]| Some(list.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(on("10.9.9.9,eth1"), addresses(&["10.9.9.9", "10.1.0.5", "fd00::5"]));
        assert_eq!(on("nosuch0"), addresses(&[]), "a node without the interface does not publish");
        assert_eq!(on("81=eth1"), None);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let refused = |allow: &str, on: &str| Publishing::parse(&labels(allow, on)).unwrap_err().to_string();
        assert_eq!(
            refused("10.0.0.0/33", ""),
            r#"label shoal.publish.allow: "10.0.0.0/33" is not a network such as 10.0.0.0/8 or an address"#
        );
        assert_eq!(
            refused("10.0.0.0/8,", ""),
            r#"label shoal.publish.allow: "" is not a network such as 10.0.0.0/8 or an address"#
        );
        assert_eq!(
            refused("0=10.0.0.0/8", ""),
            r#"label shoal.publish.allow: "0" is not a port such as 8080 or 53/udp"#
        );
        assert_eq!(
            refused("80=1.1.1.1;80/tcp=2.2.2.2", ""),
            "label shoal.publish.allow: 80/tcp is given twice"
        );
        assert_eq!(
            refused("", "a name"),
            r#"label shoal.publish.on: "a name" is not an address or the name of an interface"#
        );
    }

    #[test]
    fn every_port_named_must_be_published() {
        let port = PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() };
        let check =
            |allow: &str| Publishing::parse(&labels(allow, "")).unwrap().check(std::slice::from_ref(&port));
        assert_eq!(check("10.0.0.0/8; 8080=10.0.0.0/8"), Ok(()));
        assert_eq!(
            check("8081=10.0.0.0/8").unwrap_err().to_string(),
            "label shoal.publish.allow: port 8081/tcp is not published by the service"
        );
    }
}
