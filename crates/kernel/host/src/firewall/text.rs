//! A declared rule as the comment of each of its parts: `<position>.<part> <rule>`, short enough for the kernel's 256
//! bytes of user data and readable in `nft list ruleset`.

use shoal_model::netns::FirewallRule;
use shoal_model::spec::Protocol;
use std::str::FromStr;

/// The comment of one part of the rule at this position.
pub(crate) fn comment(position: usize, part: usize, rule: &FirewallRule) -> String {
    let text = match rule {
        FirewallRule::Masquerade { source, bridge } => format!("masquerade {source} {bridge}"),
        FirewallRule::Isolate { bridge } => format!("isolate {bridge}"),
        FirewallRule::HostPort { protocol, published, address, target, client, at } => format!(
            "host-port {} {published} {address} {target} {} {}",
            protocol_name(*protocol),
            or_any(client.as_ref()),
            or_any(at.as_ref())
        ),
        FirewallRule::ClosedPort { protocol, published, at } => {
            format!("closed-port {} {published} {}", protocol_name(*protocol), or_any(at.as_ref()))
        }
    };
    format!("{position}.{part} {text}")
}

/// Position, part and rule of a comment.
pub(crate) fn parse_comment(comment: &str) -> Option<(usize, usize, FirewallRule)> {
    let mut words = comment.split(' ');
    let (position, part) = words.next()?.split_once('.')?;
    let (position, part) = (position.parse().ok()?, part.parse().ok()?);
    let rule = match words.next()? {
        "masquerade" => {
            FirewallRule::Masquerade { source: words.next()?.parse().ok()?, bridge: words.next()?.to_owned() }
        }
        "isolate" => FirewallRule::Isolate { bridge: words.next()?.to_owned() },
        "host-port" => FirewallRule::HostPort {
            protocol: protocol_of(words.next()?)?,
            published: words.next()?.parse().ok()?,
            address: words.next()?.parse().ok()?,
            target: words.next()?.parse().ok()?,
            client: unless_any(words.next()?).ok()?,
            at: unless_any(words.next()?).ok()?,
        },
        "closed-port" => FirewallRule::ClosedPort {
            protocol: protocol_of(words.next()?)?,
            published: words.next()?.parse().ok()?,
            at: unless_any(words.next()?).ok()?,
        },
        _ => return None,
    };
    words.next().is_none().then_some((position, part, rule))
}

/// What a rule is not limited to.
const ANY: &str = "any";

fn or_any<T: std::fmt::Display>(limit: Option<&T>) -> String {
    limit.map_or_else(|| ANY.to_owned(), T::to_string)
}

/// The limit in a word; `None` where it is "any".
fn unless_any<T: FromStr>(word: &str) -> Result<Option<T>, T::Err> {
    if word == ANY { Ok(None) } else { word.parse().map(Some) }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn protocol_of(name: &str) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol_name(*protocol) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_tells_the_rule_again() {
        let rules = [
            FirewallRule::Masquerade {
                source: "172.18.0.0/16".parse().unwrap(),
                bridge: "docker_gwbridge".into(),
            },
            FirewallRule::Isolate { bridge: "docker_gwbridge".into() },
            FirewallRule::HostPort {
                protocol: Protocol::Sctp,
                published: 65535,
                address: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
                target: 65535,
                client: Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:0/112".parse().unwrap()),
                at: Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe".parse().unwrap()),
            },
            FirewallRule::HostPort {
                protocol: Protocol::Tcp,
                published: 80,
                address: "172.18.0.3".parse().unwrap(),
                target: 80,
                client: None,
                at: None,
            },
            FirewallRule::ClosedPort { protocol: Protocol::Udp, published: 53, at: None },
        ];
        for rule in rules {
            let text = comment(1234, 5, &rule);
            assert!(text.len() < 250);
            assert_eq!(parse_comment(&text), Some((1234, 5, rule)));
        }
    }

    #[test]
    fn other_comments_are_no_rules() {
        for text in ["", "0.0", "mine", "0.0 isolate", "0.0 isolate br0 more", "x.0 isolate br0"] {
            assert_eq!(parse_comment(text), None, "{text}");
        }
    }
}
