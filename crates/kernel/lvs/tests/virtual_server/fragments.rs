//! Datagrams that are longer than the links, through the mesh.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port};
use crate::raw::{Part, Raw};
use crate::talk::{Datagrams, echo_of, eventually};
use shoal_model::spec::Protocol;
use std::net::Ipv4Addr;

/// The longest datagram of IPv4; IPv6's is a little longer.
const LONGEST: usize = 65_507;

fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 3);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Udp, 8081, 81)];
    lab.sync();
    lab
}

#[test]
fn pass_both_ways_though_the_lan_lets_longer_ones_through() {
    let lab = lab();
    for host in &lab.hosts {
        for _ in 0..2 {
            let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
            for length in [1473, 4000, 2 * 1424, LONGEST] {
                let echoed = socket.echo(&format!("{}:8081", host.address), length);
                assert!(echoed.is_ok(), "{length} bytes by {}: {echoed:?}", host.address);
            }
        }
    }
}

#[test]
fn pass_both_ways_over_ipv6_once_the_client_knows_the_mtu() {
    if excused() {
        return;
    }
    let lab = lab();
    for host in &lab.hosts {
        let to = format!("[{}]:8081", host.address6());
        let probe = Datagrams::new(&lab.client.path, "[::]:0");
        probe.connect(&to);
        probe.send_connected(4000).unwrap();
        eventually("the MTU", || probe.path_mtu() == 1450);
        for _ in 0..2 {
            let socket = Datagrams::new(&lab.client.path, "[::]:0");
            for length in [1473, 4000, LONGEST] {
                let echoed = socket.echo(&to, length);
                assert!(echoed.is_ok(), "{length} bytes by {to}: {echoed:?}");
            }
        }
    }
}

/// A UDP datagram without a checksum.
fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let header = [from, to, length, 0].map(u16::to_be_bytes).concat();
    [header, payload.to_vec()].concat()
}

#[test]
fn a_fragment_that_overtakes_the_first_one_follows_the_datagram_before() {
    let lab = lab();
    for host in &lab.hosts {
        let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
        socket.echo(&format!("{}:8081", host.address), 4000).unwrap();
        let payload = echo_of(3000);
        let datagram = datagram(socket.own().port(), 8081, &payload);
        let raw = Raw::new(&lab.client, &host.address);
        for id in 1..4 {
            for (at, end) in [(2400, datagram.len()), (0, 1200), (1200, 2400)] {
                let part = Part { id, at, more: end < datagram.len() };
                raw.send_fragment(Ipv4Addr::new(192, 168, 50, 100), part, &datagram[at..end]);
            }
            assert_eq!(socket.receive().unwrap().0, 3000, "by {}", host.address);
        }
    }
}

#[test]
fn of_others_reach_the_node_itself() {
    let lab = lab();
    let client = Datagrams::new(&lab.client.path, "0.0.0.0:0");
    let own = Datagrams::new(&lab.hosts[2].netns.path, "192.168.50.12:7000");
    for _ in 0..3 {
        client.echo("192.168.50.12:8081", 4000).unwrap();
        client.send_to(&echo_of(5000), "192.168.50.12:7000");
        assert_eq!(own.receive().unwrap().0, 5000);
    }
}
