//! Links of other lengths than usual.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port};
use crate::netns::Netns;
use crate::talk::{Connection, Datagrams, eventually};
use shoal_model::spec::Protocol;

fn lab(hosts: usize) -> Lab {
    let mut lab = Lab::new(engine(), hosts);
    lab.add_task("a", 0);
    lab.ports = vec![Port(Protocol::Tcp, 8080, 80), Port(Protocol::Udp, 8053, 53)];
    lab.sync();
    lab
}

/// Bulk both ways, and a client that learns what passes.
fn works(lab: &Lab, lan: u32) {
    for host in &lab.hosts {
        let to = format!("{}:8080", host.address).parse().unwrap();
        Connection::open(&lab.client.path, to).unwrap().exchange(8_000_000).unwrap();
        let socket = Datagrams::new(&lab.client.path, "0.0.0.0:0");
        let to = format!("{}:8053", host.address);
        socket.never_fragment();
        socket.connect(&to);
        let fills_the_lan = usize::try_from(lan).unwrap() - 28;
        let _ = socket.send_connected(fills_the_lan);
        eventually(&format!("the MTU behind {lan}"), || socket.path_mtu() == lan - 50);
    }
}

#[test]
fn bulk_data_passes_over_links_of_any_length() {
    if excused() {
        return;
    }
    let mut lab = lab(2);
    for lan in [9000, 1500, 1280] {
        lab.set_mtu(lan);
        lab.sync();
        works(&lab, lan);
        // What clients have learned about longer links is not for shorter ones.
        lab.client.ip("route flush cache");
    }
}

#[test]
fn a_task_learns_that_its_client_s_uplink_is_shorter_than_the_ingress_network() {
    if excused() {
        return;
    }
    let mut lab = lab(2);
    let far = Netns::new(lab.hosts[1].place.root.join("far"));
    let at = &lab.hosts[1].netns;
    at.ip(&format!("link add up1 mtu 1300 type veth peer name eth0 mtu 1300 netns {}", far.path.display()));
    at.ip("addr add 192.168.60.1/24 dev up1\naddr add fd60::1/64 dev up1 nodad\nlink set up1 up");
    far.ip("addr add 192.168.60.100/24 dev eth0\naddr add fd60::100/64 dev eth0 nodad\nlink set eth0 up");
    far.ip("route add 192.168.50.11 via 192.168.60.1\nroute add fd50::11 via fd60::1");
    lab.uplinks.insert("up1".to_owned());
    lab.ports.push(Port(Protocol::Udp, 8090, 90));
    lab.sync();
    let task = &lab.tasks["a"];
    let (v4, v6) = (format!("{}:90", task.ingress_address()), format!("[{}]:90", task.ingress_address6()));
    for (own, any, to) in [(v4, "0.0.0.0:0", "192.168.50.11:8090"), (v6, "[::]:0", "[fd50::11]:8090")] {
        let server = Datagrams::new(&task.netns.path, &own);
        let client = Datagrams::new(&far.path, any);
        client.send_to(b"hello", to);
        let (_, peer) = server.receive().unwrap();
        server.never_fragment();
        server.connect(&peer.to_string());
        let _ = server.send_connected(1400);
        eventually("the uplink's MTU", || server.path_mtu() == 1300);
    }
}
