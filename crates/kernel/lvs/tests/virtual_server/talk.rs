//! Servers that tell who they are and who asks, and clients that ask.

use crate::netns::within;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a client waits that expects nothing.
pub(crate) const IMPATIENCE: Duration = Duration::from_millis(700);

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
    pub(crate) fn new(namespace: &Path, name: &str, ports: &[u16]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for port in ports.iter().copied() {
            let (tcp, udp) = within(namespace, || {
                let any = SocketAddr::from(([0, 0, 0, 0], port));
                (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
            });
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
                writeln!(stream, "{name} {port} {peer}")?;
                line.clear();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn serve_datagrams(socket: &UdpSocket, name: &str, port: u16, stop: &AtomicBool) {
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
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
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Answer::parse(&line))
    }

    /// Whom the socket believes to be connected with.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }
}

/// One connection, one question.
pub(crate) fn ask(namespace: &Path, to: &str) -> io::Result<Answer> {
    Connection::open(namespace, to.parse().unwrap())?.ask()
}

/// Names that answer `times` connections one after the other.
pub(crate) fn names(namespace: &Path, to: &str, times: usize) -> Vec<String> {
    (0..times).map(|_| ask(namespace, to).unwrap().name).collect()
}

/// A datagram socket of a namespace.
pub(crate) struct Datagrams(UdpSocket);

impl Datagrams {
    pub(crate) fn new(namespace: &Path, local: &str) -> Self {
        let socket = within(namespace, || UdpSocket::bind(local).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(crate) fn patience(&self, patience: Duration) {
        self.0.set_read_timeout(Some(patience)).unwrap();
    }

    /// Sends to an address; the answer, and from whom it came.
    pub(crate) fn ask(&self, to: &str) -> io::Result<(Answer, SocketAddr)> {
        self.0.send_to(b"who?", to)?;
        let mut buffer = [0; 2048];
        let (length, from) = self.0.recv_from(&mut buffer)?;
        Ok((Answer::parse(std::str::from_utf8(&buffer[..length]).unwrap()), from))
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
        let mut buffer = [0; 2048];
        let length = self.0.recv(&mut buffer)?;
        Ok(Answer::parse(std::str::from_utf8(&buffer[..length]).unwrap()))
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer_addr().unwrap()
    }
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
