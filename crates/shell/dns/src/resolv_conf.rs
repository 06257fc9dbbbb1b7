//! The `nameserver` lines of a resolv.conf (resolv.conf(5)).

use std::net::IpAddr;

/// Most servers that are used, as the C library's `MAXNS`.
const MOST_SERVERS: usize = 3;

/// The servers that `text` names, in order. Lines that are not understood are passed over, as the C library does;
/// so are link-local servers with a zone (`fe80::1%eth0`), since the index of their device is not known here.
pub(crate) fn servers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(address).take(MOST_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_nameserver_lines_count() {
        let text = "# nameserver 9.9.9.9\n; x\nsearch example.org\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # b\n\
                    nameserver\nnameserver fe80::1%eth0\nnameservers 1.1.1.1\noptions ndots:0\n";
        assert_eq!(servers(text), ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    }

    #[test]
    fn three_servers_are_the_most() {
        assert_eq!(servers(&"nameserver 192.0.2.1\n".repeat(5)).len(), 3);
    }
}
