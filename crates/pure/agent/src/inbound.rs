//! Live inbound connections, from what the kernel tells of a namespace's TCP sockets.

use std::collections::BTreeSet;

/// States of sockets in `/proc/net/tcp` (`include/net/tcp_states.h`). Those of a connection that lives: established, being
/// established, and closed by the client while the server may still answer.
const LIVE: [&str; 3] = ["01", "03", "08"];
const LISTEN: &str = "0A";
/// Fields of a line: number, local and remote address, state.
const LOCAL: usize = 1;
const REMOTE: usize = 2;
const STATE: usize = 3;

/// How many live TCP connections from outside go to a port that is listened on, by the texts of `/proc/<pid>/net/tcp` and
/// `tcp6`. Connections over loopback (health probes, the name server) and of an address with itself do not count.
pub fn live_inbound(tcp: &str, tcp6: &str) -> u32 {
    let sockets: Vec<Vec<&str>> = tcp.lines().chain(tcp6.lines()).filter_map(socket).collect();
    let ports: BTreeSet<&str> =
        sockets.iter().filter(|s| s[STATE] == LISTEN).filter_map(|s| port(s[LOCAL])).collect();
    let inbound = |s: &&Vec<&str>| {
        LIVE.contains(&s[STATE])
            && port(s[LOCAL]).is_some_and(|port| ports.contains(port))
            && !is_loopback(s[REMOTE])
            && host(s[LOCAL]) != host(s[REMOTE])
    };
    u32::try_from(sockets.iter().filter(inbound).count()).unwrap_or(u32::MAX)
}

/// The fields of a line that tells of a socket; the heading tells of none.
fn socket(line: &str) -> Option<Vec<&str>> {
    let fields: Vec<&str> = line.split_whitespace().take(STATE + 1).collect();
    (fields.len() > STATE && fields[LOCAL].contains(':')).then_some(fields)
}

fn port(end: &str) -> Option<&str> {
    Some(end.rsplit_once(':')?.1)
}

fn host(end: &str) -> &str {
    end.rsplit_once(':').map_or(end, |(host, _)| host)
}

/// Addresses are printed as words of 32 bits in the machine's byte order; Shoal runs on little-endian machines.
fn is_loopback(end: &str) -> bool {
    let host = host(end);
    let v4 = host.strip_prefix("0000000000000000FFFF0000").unwrap_or(host);
    (v4.len() == 8 && v4.ends_with("7F")) || host == "00000000000000000000000001000000"
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n";

    fn text(sockets: &[(&str, &str, &str)]) -> String {
        let line =
            |(local, remote, state): &(&str, &str, &str)| format!("   0: {local} {remote} {state} 0:0\n");
        HEAD.to_owned() + &sockets.iter().map(line).collect::<String>()
    }

    #[test]
    fn connections_to_listening_ports_count_while_they_live() {
        // 8000 = 1F40. 10.0.0.5 = 0500000A, clients 192.168.50.100 = 6432A8C0.
        let tcp = text(&[
            ("00000000:1F40", "00000000:0000", "0A"),
            ("0500000A:1F40", "6432A8C0:9C40", "01"),
            ("0500000A:1F40", "6432A8C0:9C41", "08"),
            ("0500000A:1F40", "6432A8C0:9C42", "03"),
            ("0500000A:1F40", "6432A8C0:9C43", "06"),
            ("0500000A:1F40", "6432A8C0:9C44", "04"),
            ("0500000A:A001", "0600000A:0050", "01"),
        ]);
        assert_eq!(live_inbound(&tcp, HEAD), 3, "not what is over, and not what the task itself opened");
    }

    #[test]
    fn a_listener_of_both_families_is_found_in_the_other_table() {
        let tcp6 = text(&[
            ("00000000000000000000000000000000:1F40", "00000000000000000000000000000000:0000", "0A"),
            ("0000000000000000FFFF00000500000A:1F40", "0000000000000000FFFF00006432A8C0:9C40", "01"),
        ]);
        assert_eq!(live_inbound(&text(&[("0500000A:1F40", "6432A8C0:9C41", "01")]), &tcp6), 2);
    }

    #[test]
    fn probes_and_the_task_itself_do_not_count() {
        let tcp = text(&[
            ("00000000:1F40", "00000000:0000", "0A"),
            ("0100007F:1F40", "0100007F:9C40", "01"),
            ("0500000A:1F40", "0500000A:9C40", "01"),
        ]);
        let tcp6 = text(&[
            ("00000000000000000000000001000000:1F40", "00000000000000000000000001000000:9C40", "01"),
            ("0000000000000000FFFF00000100007F:1F40", "0000000000000000FFFF00000100007F:9C41", "01"),
        ]);
        assert_eq!(live_inbound(&tcp, &tcp6), 0);
    }

    #[test]
    fn nothing_readable_is_nothing_live() {
        assert_eq!(live_inbound("", "nonsense\n"), 0);
    }
}
