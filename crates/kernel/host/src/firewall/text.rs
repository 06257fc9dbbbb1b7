//! A declared rule as the comment of each of its parts: `<position>.<part> <rule>`, short enough for the kernel's 256
//! bytes of user data and readable in `nft list ruleset`.

use shoal_model::netns::FirewallRule;
use shoal_model::spec::Protocol;

/// The comment of one part of the rule at this position.
pub(crate) fn comment(position: usize, part: usize, rule: &FirewallRule) -> String {
    let text = match rule {
        FirewallRule::Masquerade { source, bridge } => format!("masquerade {source} {bridge}"),
        FirewallRule::Isolate { bridge } => format!("isolate {bridge}"),
        FirewallRule::HostPort { protocol, published, address, target } => {
            format!("host-port {} {published} {address} {target}", protocol_name(*protocol))
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
        },
        _ => return None,
    };
    words.next().is_none().then_some((position, part, rule))
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
            },
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
