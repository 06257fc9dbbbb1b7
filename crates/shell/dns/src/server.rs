//! Serves one sandbox over UDP and TCP.

use crate::answer::{Answer, Transport, answer, failure, udp_limit};
use crate::forward::{forward, read_message, write_message};
use crate::upstream::Upstream;
use futures::stream::{FuturesUnordered, StreamExt};
use hickory_proto::op::ResponseCode;
use shoal_model::dns::Zone;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Most queries of one sandbox that wait for a server outside at one time; more are refused at once.
const MOST_FORWARDED: usize = 256;
/// Most open connections of one sandbox; more wait in the listener's backlog.
const MOST_CONNECTIONS: usize = 64;
/// How long a connection may be idle, or a message take to come in or go out.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
/// How long to stand back when the kernel fails a socket call, so that a lasting failure does not burn a processor.
const SOCKET_PAUSE: Duration = Duration::from_millis(50);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve names on the {transport} socket")]
pub struct Error {
    transport: &'static str,
    #[source]
    source: io::Error,
}

/// Answers queries on `udp` and `tcp` from the newest `zone` until `shutdown` is cancelled; the last zone stays in force
/// when its sender is gone. The sockets are already bound, usually to 127.0.0.11:53 inside a sandbox; other names
/// are asked of `upstream` by sockets of the calling thread's own network namespace.
///
/// All work is done inside the returned future: dropping it ends everything at once.
///
/// # Errors
/// Where the sockets cannot be made asynchronous.
pub async fn serve(
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    zone: watch::Receiver<Arc<Zone>>,
    upstream: Upstream,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let failed = |transport| move |source| Error { transport, source };
    udp.set_nonblocking(true).map_err(failed("UDP"))?;
    tcp.set_nonblocking(true).map_err(failed("TCP"))?;
    let udp = UdpSocket::from_std(udp).map_err(failed("UDP"))?;
    let tcp = TcpListener::from_std(tcp).map_err(failed("TCP"))?;
    let server = Server {
        zone,
        upstream,
        rotation: AtomicU32::new(rand::random()),
        slots: Semaphore::new(MOST_FORWARDED),
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = server.serve_datagrams(&udp) => {}
        () = server.serve_connections(&tcp) => {}
    }
    Ok(())
}

struct Server {
    zone: watch::Receiver<Arc<Zone>>,
    upstream: Upstream,
    rotation: AtomicU32,
    slots: Semaphore,
}

impl Server {
    async fn serve_datagrams(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut forwarded = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = forwarded.next(), if !forwarded.is_empty() => {}
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, client)) => {
                        let query = &buffer[..length];
                        match self.answer(query, Transport::Udp) {
                            Answer::Reply(reply) => send(socket, &reply, client).await,
                            Answer::Forward => forwarded.push(self.forward_datagram(socket, query.to_vec(), client)),
                            Answer::Drop => {}
                        }
                    }
                    // A client that went away before its reply came; the socket is fine.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => {
                        tracing::debug!(%error, "cannot receive a query");
                        sleep(SOCKET_PAUSE).await;
                    }
                },
            }
        }
    }

    async fn forward_datagram(&self, socket: &UdpSocket, query: Vec<u8>, client: SocketAddr) {
        let Some(mut reply) = self.forward(&query, Transport::Udp).await else { return };
        if reply.len() > udp_limit(&query) {
            // It came over TCP; the client has to ask so as well.
            let Some(short) = failure(&query, ResponseCode::NoError) else { return };
            reply = short;
            reply[2] |= 0x02;
        }
        send(socket, &reply, client).await;
    }

    async fn serve_connections(&self, listener: &TcpListener) {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = connections.next(), if !connections.is_empty() => {}
                accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                    Ok((stream, _)) => connections.push(self.serve_connection(stream)),
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept a connection");
                        sleep(SOCKET_PAUSE).await;
                    }
                },
            }
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) {
        while let Ok(Ok(query)) = timeout(CONNECTION_DEADLINE, read_message(&mut stream)).await {
            let reply = match self.answer(&query, Transport::Tcp) {
                Answer::Reply(reply) => Some(reply),
                Answer::Forward => self.forward(&query, Transport::Tcp).await,
                Answer::Drop => None,
            };
            let Some(reply) = reply else { return };
            let written = timeout(CONNECTION_DEADLINE, write_message(&mut stream, &reply)).await;
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn answer(&self, query: &[u8], transport: Transport) -> Answer {
        let rotation = self.rotation.fetch_add(1, Ordering::Relaxed);
        let zone = Arc::clone(&self.zone.borrow());
        answer(query, &zone, rotation, transport)
    }

    async fn forward(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let Ok(_slot) = self.slots.try_acquire() else { return failure(query, ResponseCode::Refused) };
        let servers = self.upstream.servers(&Arc::clone(&self.zone.borrow()));
        match forward(query, &servers, transport).await {
            Some(reply) => Some(reply),
            None => failure(query, ResponseCode::ServFail),
        }
    }
}

/// Sends a reply; a client that does not take it asks again.
async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    match timeout(SOCKET_PAUSE, socket.send_to(reply, client)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%client, %error, "cannot send a reply"),
        Err(_) => tracing::debug!(%client, "no room to send a reply"),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
