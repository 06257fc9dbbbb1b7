//! Error messages through the mesh, and pings.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port, VIP};
use crate::talk::{Datagrams, eventually};
use shoal_model::spec::Protocol;
use std::io::ErrorKind;

/// Nobody listens behind 8099/udp, and 8090/udp is for the cases' own servers.
fn lab() -> Lab {
    let mut lab = Lab::new(engine(), 3);
    lab.add_task("a", 0);
    lab.ports = [(8081, 81), (8090, 90), (8099, 99)].map(|(p, t)| Port(Protocol::Udp, p, t)).to_vec();
    lab.sync();
    lab
}

/// Any address to send from, and each node's to send to, of both families.
fn ways(lab: &Lab, port: u16) -> Vec<(&'static str, String)> {
    let of = |(index, host): (usize, &crate::lab::Host)| {
        [
            ("0.0.0.0:0", format!("192.168.50.1{index}:{port}")),
            ("[::]:0", format!("[{}]:{port}", host.address6())),
        ]
    };
    lab.hosts.iter().enumerate().flat_map(of).collect()
}

#[test]
fn a_client_learns_the_mtu_of_the_ingress_network() {
    if excused() {
        return;
    }
    let lab = lab();
    for (any, to) in ways(&lab, 8081) {
        let socket = Datagrams::new(&lab.client.path, any);
        socket.never_fragment();
        socket.connect(&to);
        socket.ask_connected().unwrap();
        assert_eq!(socket.path_mtu(), 1500);
        // What fills the LAN's MTU is sent, and refused on its way.
        let too_long = if any.starts_with('[') { 1452 } else { 1472 };
        socket.send_connected(too_long).unwrap();
        eventually(&format!("the MTU towards {to}"), || socket.path_mtu() == 1450);
        let refused = socket.send_connected(too_long).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
        // Only the error that was pending is told once more.
        let _ = socket.receive_now();
        socket.send_connected(too_long - 50).unwrap();
        socket.receive().unwrap();
    }
}

#[test]
fn a_client_is_told_that_nobody_listens() {
    let lab = lab();
    for (any, to) in ways(&lab, 8099) {
        let bystander = Datagrams::new(&lab.client.path, any);
        let socket = Datagrams::new(&lab.client.path, any);
        for socket in [&bystander, &socket] {
            socket.connect(&to);
        }
        socket.send_connected(4).unwrap();
        assert_eq!(socket.receive().unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
        assert_eq!(bystander.receive_now().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn a_task_is_told_that_its_client_is_gone() {
    if excused() {
        return;
    }
    let lab = lab();
    let task = &lab.tasks["a"];
    for (any, to) in ways(&lab, 8090) {
        let own = if any.starts_with('[') { task.ingress_address6() } else { task.ingress_address() };
        let own = if any.starts_with('[') { format!("[{own}]:90") } else { format!("{own}:90") };
        let server = Datagrams::new(&task.netns.path, &own);
        let client = Datagrams::new(&lab.client.path, any);
        client.connect(&to);
        client.send_connected(4).unwrap();
        let (_, peer) = server.receive().unwrap();
        server.connect(&peer.to_string());
        server.send_connected(4).unwrap();
        client.receive().unwrap();
        assert_eq!(client.own().port(), peer.port());
        drop(client);
        server.send_connected(4).unwrap();
        assert_eq!(server.receive().unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
    }
}

#[test]
fn nodes_and_virtual_addresses_answer_pings() {
    let lab = lab();
    let ping = |netns: &crate::netns::Netns, to: &str| netns.output(&["ping", "-n", "-c1", "-W4", to]);
    for host in &lab.hosts {
        ping(&lab.client, &host.address);
        ping(&lab.client, &host.address6());
    }
    ping(&lab.tasks["a"].netns, VIP);
}
