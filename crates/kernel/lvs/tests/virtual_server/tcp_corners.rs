//! One client, the same ports again and again, by all nodes: the task must never take one connection for another.

use super::engine;
use crate::exceptions::excused;
use crate::lab::{Lab, Port};
use crate::netns::{Netns, within};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Linger, ReceiveTimeout, ReuseAddr, SendTimeout};
use nix::sys::time::TimeVal;
use shoal_model::spec::Protocol;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(4);

/// Takes connections on port 90 and closes them at once, so that the task's side holds them in `TIME_WAIT`.
struct Closer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Closer {
    fn new(netns: &Netns) -> Self {
        let listener = netns.within(|| TcpListener::bind("0.0.0.0:90").unwrap());
        setsockopt(&listener, ReceiveTimeout, &TimeVal::new(0, 20_000)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                drop(listener.accept());
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Connects, and waits until the other side closes.
fn visit(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, LONG)?;
    stream.set_read_timeout(Some(LONG))?;
    match stream.read(&mut [0; 8]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::other("unexpected data")),
        Err(e) => Err(e),
    }
}

/// First packets of connections that a namespace had to send again.
fn repeated_syns(namespace: &Path) -> u64 {
    let text = within(namespace, || std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap());
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "TCPSynRetrans").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Two tasks on different hosts, two published ports with the same target, and few ports at the client; it also has a
/// route to the tasks themselves.
fn lab() -> (Lab, Vec<Closer>) {
    let mut lab = Lab::new(engine(), 3);
    lab.add_task("a", 0);
    lab.add_task("b", 1);
    lab.ports = vec![Port(Protocol::Tcp, 8090, 90), Port(Protocol::Tcp, 8091, 90)];
    lab.sync();
    lab.client.sysctl("net/ipv4/ip_local_port_range", "40000 40127");
    lab.client.ip("route add 10.0.0.0/24 via 192.168.50.10");
    let closers = lab.tasks.values().map(|task| Closer::new(&task.netns)).collect();
    (lab, closers)
}

/// So many visits by two at once; how many first packets were sent again.
fn visits(lab: &Lab, addresses: &[SocketAddr], times: usize) -> u64 {
    let before = repeated_syns(&lab.client.path);
    let client = &lab.client;
    let visitor = || {
        client.within(|| {
            for to in addresses.iter().cycle().take(times / 2) {
                visit(*to).unwrap_or_else(|e| panic!("{to}: {e}"));
            }
        });
    };
    thread::scope(|scope| {
        scope.spawn(visitor);
        scope.spawn(visitor);
    });
    repeated_syns(&lab.client.path) - before
}

#[test]
fn short_connections_by_all_nodes_repeat_no_more_first_packets_than_direct_ones() {
    if excused() {
        return;
    }
    let (lab, _closers) = lab();
    let nodes = lab.hosts.iter().flat_map(|host| [8090, 8091].map(|port| format!("{}:{port}", host.address)));
    let nodes: Vec<SocketAddr> = nodes.map(|text| text.parse().unwrap()).collect();
    let direct = lab.tasks.values().map(|task| format!("{}:90", task.ingress_address()));
    let direct: Vec<SocketAddr> = direct.map(|text| text.parse().unwrap()).collect();
    let (mut by_mesh, mut by_route) = (0, 0);
    for _ in 0..4 {
        by_route += visits(&lab, &direct, 120);
        by_mesh += visits(&lab, &nodes, 480);
    }
    assert!(by_mesh <= by_route, "{by_mesh} repeated by the mesh, {by_route} directly");
}

#[test]
fn one_client_port_by_every_way_to_one_task_repeats_no_first_packet() {
    let (mut lab, closers) = lab();
    drop(closers);
    lab.remove_task("b");
    let task = &lab.tasks["a"];
    let _closer = Closer::new(&task.netns);
    let direct = format!("{}:90", task.ingress_address());
    let by_nodes = ["192.168.50.10:8090", "192.168.50.11:8091", "192.168.50.12:8090", "192.168.50.10:8091"];
    let ways = by_nodes.into_iter().chain([direct.as_str()]).cycle().take(11);
    let ways: Vec<SocketAddr> = ways.map(|text| text.parse().unwrap()).collect();
    let before = repeated_syns(&lab.client.path);
    lab.client.within(|| {
        for port in 41_000..41_030 {
            for to in &ways {
                let mut stream = from_port(port, *to).unwrap_or_else(|e| panic!("{port} -> {to}: {e}"));
                assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
            }
        }
    });
    assert_eq!(repeated_syns(&lab.client.path) - before, 0);
}

/// A connection from a port of the client's choice.
fn from_port(port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let kind = nix::sys::socket::SockType::Stream;
    let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(nix::sys::socket::AddressFamily::Inet, kind, flags, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(4, 0))?;
    setsockopt(&socket, SendTimeout, &TimeVal::new(4, 0))?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    nix::sys::socket::bind(fd, &nix::sys::socket::SockaddrIn::new(0, 0, 0, 0, port))?;
    nix::sys::socket::connect(fd, &nix::sys::socket::SockaddrStorage::from(to))?;
    Ok(TcpStream::from(socket))
}

/// Such a connection that the client ends without a goodbye.
fn visit_from(port: u16, to: SocketAddr) -> io::Result<()> {
    let stream = from_port(port, to)?;
    setsockopt(&stream, Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}

#[test]
fn sixty_thousand_connections_of_one_client_do_not_stall() {
    let (lab, _closers) = lab();
    let before = repeated_syns(&lab.client.path);
    let to: SocketAddr = format!("{}:8090", lab.hosts[2].address).parse().unwrap();
    let client = &lab.client;
    let visitor = |ports: std::ops::Range<u16>| {
        client.within(|| {
            for port in ports {
                visit_from(port, to).unwrap_or_else(|e| panic!("from {port}: {e}"));
            }
        });
    };
    thread::scope(|scope| {
        scope.spawn(|| visitor(2000..32_000));
        scope.spawn(|| visitor(32_000..62_000));
    });
    let repeated = repeated_syns(&lab.client.path) - before;
    assert!(repeated <= 6, "{repeated} first packets of 60000 were sent again");
}
