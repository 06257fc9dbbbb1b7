//! Servers that tell who they are and who asks, and clients that ask.

use crate::netns::within;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a client waits that expects nothing.
pub(crate) const IMPATIENCE: Duration = Duration::from_millis(700);

/// A datagram that starts so comes back as it is.
const ECHO: &[u8] = b"echo";

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    /// The server's name.
    pub(crate) name: String,
    /// Port that it listens on.
    pub(crate) port: u16,
    /// Whom it saw.
    pub(crate) peer: SocketAddr,
}

impl Answer {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, port, peer] = fields[..] else { panic!("odd answer {line:?}") };
        let mut peer: SocketAddr = peer.parse().unwrap();
        peer.set_ip(peer.ip().to_canonical());
        Self { name: name.to_owned(), port: port.parse().unwrap(), peer }
    }
}

/// A server on TCP and UDP ports of a namespace.
pub(crate) struct Responder {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Responder {
    /// On `ports` over IPv4, on `dual_ports` over both families with one socket.
    pub(crate) fn new(namespace: &Path, name: &str, ports: &[u16], dual_ports: &[u16]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let ipv4 = ports.iter().map(|port| SocketAddr::from(([0; 4], *port)));
        let dual = dual_ports.iter().map(|port| SocketAddr::from(([0_u16; 8], *port)));
        for any in ipv4.chain(dual) {
            let port = any.port();
            let (tcp, udp) =
                within(namespace, || (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap()));
            tcp.set_nonblocking(true).unwrap();
            udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let (stopped, called) = (stop.clone(), name.to_owned());
            threads.push(thread::spawn(move || serve_streams(&tcp, &called, port, &stopped)));
            let (stopped, called) = (stop.clone(), name.to_owned());
            threads.push(thread::spawn(move || serve_datagrams(&udp, &called, port, &stopped)));
        }
        Self { stop, threads }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_streams(listener: &TcpListener, name: &str, port: u16, stop: &Arc<AtomicBool>) {
    let mut connections = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => {
                let (name, stop) = (name.to_owned(), stop.clone());
                connections.push(thread::spawn(move || {
                    let _ = serve_stream(&stream, &name, port, peer, &stop);
                }));
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// Answers each line with who we are.
fn serve_stream(
    mut stream: &TcpStream,
    name: &str,
    port: u16,
    peer: SocketAddr,
    stop: &AtomicBool,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !stop.load(Ordering::Relaxed) {
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                if let Some(bytes) = line.strip_prefix("give ") {
                    stream.write_all(&vec![b'x'; bytes.trim().parse().unwrap()])?;
                }
                if let Some(bytes) = line.strip_prefix("take ") {
                    take(&mut reader, bytes.trim().parse().unwrap())?;
                }
                writeln!(stream, "{name} {port} {peer}")?;
                line.clear();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads so many bytes, with pauses.
fn take(reader: &mut impl Read, mut bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; 65536];
    let deadline = Instant::now() + 2 * PATIENCE;
    while bytes > 0 && Instant::now() < deadline {
        let most = bytes.min(buffer.len());
        match reader.read(&mut buffer[..most]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes -= read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn serve_datagrams(socket: &UdpSocket, name: &str, port: u16, stop: &AtomicBool) {
    let mut buffer = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if buffer[..length].starts_with(ECHO) {
                let _ = socket.send_to(&buffer[..length], peer);
                continue;
            }
            let _ = socket.send_to(format!("{name} {port} {peer}").as_bytes(), peer);
        }
    }
}

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(namespace: &Path, to: SocketAddr) -> io::Result<Self> {
        Self::open_within(namespace, to, PATIENCE)
    }

    pub(crate) fn open_within(namespace: &Path, to: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = within(namespace, || TcpStream::connect_timeout(&to, patience))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream.try_clone()?), stream })
    }

    pub(crate) fn ask(&mut self) -> io::Result<Answer> {
        writeln!(self.stream, "who are you?")?;
        self.listen()
    }

    /// Waits for a line without asking for one.
    pub(crate) fn listen(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Answer::parse(&line))
    }

    /// Ends the connection without a goodbye, so that its port is free at once.
    pub(crate) fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    }

    /// Sends so many bytes one way, then the other.
    pub(crate) fn exchange(&mut self, bytes: usize) -> io::Result<()> {
        writeln!(self.stream, "take {bytes}")?;
        self.stream.write_all(&vec![b'y'; bytes])?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        writeln!(self.stream, "give {bytes}")?;
        let mut given = vec![0; bytes];
        self.reader.read_exact(&mut given)?;
        assert!(given.iter().all(|byte| *byte == b'x'));
        self.reader.read_line(&mut line)?;
        Ok(())
    }

    pub(crate) fn own(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Whom the socket believes to be connected with.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }
}

/// A connection from a port of the client's choice.
pub(crate) fn connect_from(namespace: &Path, port: u16, to: &str) -> io::Result<Connection> {
    connect_as(namespace, SocketAddr::from(([0; 4], port)), to)
}

/// A connection from an address of the client's choice, and from a port of its choice unless that is 0.
pub(crate) fn connect_as(namespace: &Path, local: SocketAddr, to: &str) -> io::Result<Connection> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
    let to: SocketAddr = to.parse().unwrap();
    let stream = within(namespace, || -> io::Result<TcpStream> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = nix::sys::socket::socket(family, SockType::Stream, flags, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        setsockopt(&socket, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(4, 0))?;
        nix::sys::socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(local))?;
        nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        Ok(TcpStream::from(socket))
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Connection { reader: BufReader::new(stream.try_clone()?), stream })
}

/// One connection, one question.
pub(crate) fn ask(namespace: &Path, to: &str) -> io::Result<Answer> {
    Connection::open(namespace, to.parse().unwrap())?.ask()
}

/// Names that answer `times` connections one after the other.
pub(crate) fn names(namespace: &Path, to: &str, times: usize) -> Vec<String> {
    let one = |_| ask(namespace, to).unwrap_or_else(|e| panic!("{} -> {to}: {e}", namespace.display())).name;
    (0..times).map(one).collect()
}

/// Names that answer `times` connections from this address.
pub(crate) fn names_as(namespace: &Path, from: &str, to: &str, times: usize) -> Vec<String> {
    let local = SocketAddr::new(ip(from), 0);
    (0..times).map(|_| connect_as(namespace, local, to).unwrap().ask().unwrap().name).collect()
}

/// A datagram socket of a namespace.
pub(crate) struct Datagrams(UdpSocket);

impl Datagrams {
    pub(crate) fn new(namespace: &Path, local: &str) -> Self {
        let socket = within(namespace, || UdpSocket::bind(local).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Sends to an address; the answer, and from whom it came.
    pub(crate) fn ask(&self, to: &str) -> io::Result<(Answer, SocketAddr)> {
        self.0.send_to(b"who?", to)?;
        let mut buffer = [0; 2048];
        let (length, from) = self.0.recv_from(&mut buffer)?;
        Ok((Answer::parse(std::str::from_utf8(&buffer[..length]).unwrap()), from))
    }

    pub(crate) fn send(&self, to: &str) -> io::Result<()> {
        self.0.send_to(b"who?", to).map(drop)
    }

    pub(crate) fn own(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn set_option<T>(&self, level: i32, option: i32, value: &T) {
        let length = libc::socklen_t::try_from(size_of::<T>()).unwrap();
        let (fd, from) = (self.0.as_raw_fd(), std::ptr::from_ref(value).cast::<libc::c_void>());
        // SAFETY: `value` is valid for reading `length` bytes.
        let result = unsafe { libc::setsockopt(fd, level, option, from, length) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// Lets nothing that it sends be cut into fragments, by itself neither.
    pub(crate) fn never_fragment(&self) {
        if self.0.local_addr().unwrap().is_ipv4() {
            self.set_option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_DO);
        } else {
            self.set_option(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_DO);
        }
    }

    /// What the connected socket believes to pass in one piece, in bytes with the network layer's header.
    pub(crate) fn path_mtu(&self) -> u32 {
        let (level, option) = if self.0.local_addr().unwrap().is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_MTU)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU)
        };
        let (mut value, mut length) = (0_u32, 4);
        let to = (&raw mut value).cast::<libc::c_void>();
        // SAFETY: the kernel writes `length` bytes at most, which is the size of `value`.
        let result = unsafe { libc::getsockopt(self.0.as_raw_fd(), level, option, to, &raw mut length) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        value
    }

    /// Sends so many bytes, each telling where it is, and expects them back.
    pub(crate) fn echo(&self, to: &str, length: usize) -> io::Result<()> {
        let sent = echo_of(length);
        self.0.send_to(&sent, to)?;
        let mut buffer = vec![0; 65536];
        let (length, from) = self.0.recv_from(&mut buffer)?;
        assert_eq!(from.to_string(), to);
        assert!(buffer[..length] == sent, "{length} other bytes came back");
        Ok(())
    }

    /// Sends so many bytes to the connected one.
    pub(crate) fn send_connected(&self, length: usize) -> io::Result<usize> {
        self.0.send(&vec![7; length])
    }

    pub(crate) fn send_to(&self, bytes: &[u8], to: &str) {
        self.0.send_to(bytes, to).unwrap();
    }

    /// Waits for a datagram; how long it is, and from whom.
    pub(crate) fn receive(&self) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(&mut vec![0; 65536])
    }

    /// A datagram or an error that is there already.
    pub(crate) fn receive_now(&self) -> io::Result<usize> {
        self.0.set_nonblocking(true)?;
        let received = self.0.recv(&mut vec![0; 65536]);
        self.0.set_nonblocking(false)?;
        received
    }

    /// Lets all that it sends over IPv6 bear a header of destination options (RFC 8200, section 4.6).
    pub(crate) fn add_destination_options(&self, header: [u8; 8]) {
        self.set_option(libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &header);
    }

    pub(crate) fn send_sized(&self, to: &str, length: usize) -> io::Result<Answer> {
        self.0.send_to(&vec![7; length], to)?;
        let mut buffer = [0; 2048];
        let (length, _) = self.0.recv_from(&mut buffer)?;
        Ok(Answer::parse(std::str::from_utf8(&buffer[..length]).unwrap()))
    }

    pub(crate) fn connect(&self, to: &str) {
        self.0.connect(to).unwrap();
    }

    pub(crate) fn ask_connected(&self) -> io::Result<Answer> {
        self.0.send(b"who?")?;
        self.listen()
    }

    /// Waits for an answer from the connected peer.
    pub(crate) fn listen(&self) -> io::Result<Answer> {
        let mut buffer = [0; 2048];
        let length = self.0.recv(&mut buffer)?;
        Ok(Answer::parse(std::str::from_utf8(&buffer[..length]).unwrap()))
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer_addr().unwrap()
    }
}

/// So many bytes that come back.
pub(crate) fn echo_of(length: usize) -> Vec<u8> {
    let told = (0..length).map(|at| u8::try_from(at % 251).unwrap());
    ECHO.iter().copied().chain(told).take(length).collect()
}

/// Sorted counts of the names.
pub(crate) fn spread(names: &[String]) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for name in names {
        *counts.entry(name.clone()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        thread::sleep(Duration::from_millis(20));
    }
}
