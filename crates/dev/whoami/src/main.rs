//! whoami: a web server that tells which container it runs in. The demo and the end-to-end tests balance over it.
//!
//! It serves HTTP/1.1 on port 8000 (environment `PORT`), needs no library and no file, and ends in order on SIGTERM:
//! it takes no new connections, finishes what it is answering, and exits with 0. As the first process of a container no
//! signal has an effect by itself, so SIGINT and SIGTERM are handled here.

mod answer;
mod connection;
mod head;
mod signals;

use connection::Connections;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

/// How long answers may take after the signal: less than the ten seconds after which Docker kills.
const FINISH: Duration = Duration::from_secs(9);

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("whoami: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let port = match std::env::var("PORT") {
        Ok(text) => text.parse().map_err(|_| io::Error::other(format!("PORT={text:?} is not a port")))?,
        Err(_) => 8000,
    };
    let stop = signals::catch()?;
    let listener = listen(port)?;
    println!("Listening on :{}", listener.local_addr()?.port());
    let connections = Connections::new(answer::hostname());
    loop {
        connections.wait_for_room();
        if stop.comes_before(&listener)? {
            break;
        }
        match listener.accept() {
            Ok((stream, peer)) => connections.serve(stream, peer),
            // The client has given up meanwhile, or descriptors are short for a moment.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    connections.let_go();
    // Clients that were already told that they are connected are still served.
    listener.set_nonblocking(true)?;
    while let Ok((stream, peer)) = listener.accept() {
        connections.serve(stream, peer);
    }
    drop(listener);
    connections.finish(FINISH);
    Ok(())
}

/// Listens on every address of both families, or of IPv4 where there is no IPv6. Rust lets the port be taken again at
/// once (`SO_REUSEADDR`).
fn listen(port: u16) -> io::Result<TcpListener> {
    let on = |address: IpAddr| TcpListener::bind(SocketAddr::new(address, port));
    on(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| on(Ipv4Addr::UNSPECIFIED.into()))
}
