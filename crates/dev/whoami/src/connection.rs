//! Connections: a thread each, a bounded number, counted so that the end can wait for them.

use crate::answer;
use crate::head::{self, Came};
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections served at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 1024;
/// Stack of a connection's thread: what it keeps is on the heap.
const STACK_BYTES: usize = 128 * 1024;
/// How often a silent connection looks whether the server is stopping.
const LOOK: Duration = Duration::from_millis(100);
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_mins(2);
/// How long a client that is connected may take to ask once more, after the server was told to stop: a request that is on
/// its way is still answered, and its answer says that it is the last.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// How long a client may take to take an answer.
const TAKE: Duration = Duration::from_secs(10);

/// All connections.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    hostname: String,
    stopping: AtomicBool,
    count: Mutex<usize>,
    changed: Condvar,
}

/// Counts a connection until it is dropped.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_all();
    }
}

impl Connections {
    pub(crate) fn new(hostname: String) -> Self {
        let shared = Shared {
            hostname,
            stopping: AtomicBool::new(false),
            count: Mutex::new(0),
            changed: Condvar::new(),
        };
        Self(Arc::new(shared))
    }

    /// Waits until one more connection may be served.
    pub(crate) fn wait_for_room(&self) {
        let count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        // Poisoned or not, the number is right: it is only ever changed by one.
        drop(self.0.changed.wait_while(count, |count| *count >= CONNECTIONS));
    }

    /// Serves a connection on a thread of its own.
    pub(crate) fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let counted = Counted(Arc::clone(&self.0));
        // Without a thread the connection is closed, which tells the client enough.
        let _ = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // What goes wrong with a connection concerns its client, who sees it.
            let _ = converse(&counted.0, stream, peer);
        });
    }

    /// From now on every answer is its connection's last.
    pub(crate) fn let_go(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until every connection has ended, at most this long.
    pub(crate) fn finish(&self, at_most: Duration) {
        let count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.changed.wait_timeout_while(count, at_most, |count| *count > 0));
    }
}

fn converse(shared: &Shared, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(TAKE))?;
    let mut buffer = Vec::new();
    let mut silent_since = Instant::now();
    let mut stopping_since = None;
    loop {
        match head::next(&mut stream, &mut buffer)? {
            Came::Head(head) if head.is_http() => {
                thread::sleep(answer::delay(&head));
                let alive = head.keeps_alive() && !shared.stopping.load(Ordering::Relaxed);
                stream.write_all(&answer::to(&head, &shared.hostname, peer, alive))?;
                if !alive {
                    return stream.shutdown(Shutdown::Write);
                }
                silent_since = Instant::now();
            }
            Came::Head(_) => {
                return stream.write_all(&answer::with_status(
                    "400 Bad Request",
                    "not HTTP/1\n",
                    false,
                    true,
                ));
            }
            Came::TooLong => {
                let status = "431 Request Header Fields Too Large";
                return stream.write_all(&answer::with_status(status, "too long\n", false, true));
            }
            Came::End => return Ok(()),
            Came::Silence => {
                let over = if shared.stopping.load(Ordering::Relaxed) {
                    stopping_since.get_or_insert_with(Instant::now).elapsed() >= LAST_REQUEST
                } else {
                    silent_since.elapsed() >= SILENCE
                };
                if over {
                    return Ok(());
                }
            }
        }
    }
}
