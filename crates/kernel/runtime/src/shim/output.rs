//! The container's output on its way to the log and to whoever is attached.

use crate::clock;
use crate::logs::{Cutter, Stream};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes read at a time: a pipe's usual capacity.
const CHUNK: usize = 64 * 1024;

/// All output of a container.
#[derive(Debug)]
pub(super) struct Output {
    log: File,
    sources: Vec<Source>,
    sinks: Vec<Sink>,
    /// Whether the container has ended: what is left is finite, and is read however far behind the clients are.
    is_ending: bool,
    next: u64,
}

#[derive(Debug)]
struct Source {
    stream: Stream,
    descriptor: OwnedFd,
    cutter: Cutter,
}

/// A client that is attached to one stream.
#[derive(Debug)]
struct Sink {
    key: u64,
    stream: Stream,
    descriptor: OwnedFd,
    /// What it has not taken yet. While there is any, its stream is not read: the container waits, as with Docker.
    pending: Vec<u8>,
}

/// Something of the output to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The container writes.
    Source(Stream),
    /// A client that is behind reads, or goes.
    Sink(u64),
}

impl Output {
    pub(super) fn new(log: File, sources: Vec<(Stream, OwnedFd)>) -> Self {
        let source = |(stream, descriptor)| Source { stream, descriptor, cutter: Cutter::new(stream) };
        let sources = sources.into_iter().map(source).collect();
        Self { log, sources, sinks: Vec::new(), is_ending: false, next: 0 }
    }

    /// Attaches a client's pipe.
    pub(super) fn attach(&mut self, stream: Stream, descriptor: OwnedFd) -> rustix::io::Result<()> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        // A stream that has ended already has nothing to give; dropping the pipe says so.
        if self.sources.iter().any(|s| s.stream == stream) {
            self.sinks.push(Sink { key: self.next, stream, descriptor, pending: Vec::new() });
            self.next += 1;
        }
        Ok(())
    }

    /// Whether every stream has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.sources.is_empty()
    }

    /// What to wait for: sources to read, sinks to write to (true) or only to notice their end (false).
    pub(super) fn waits(&self) -> impl Iterator<Item = (Wait, BorrowedFd<'_>, bool)> {
        let is_behind = |stream| self.sinks.iter().any(|s| s.stream == stream && !s.pending.is_empty());
        let sources = self.sources.iter().filter(move |s| self.is_ending || !is_behind(s.stream));
        let sinks = self.sinks.iter();
        sources
            .map(|s| (Wait::Source(s.stream), s.descriptor.as_fd(), false))
            .chain(sinks.map(|s| (Wait::Sink(s.key), s.descriptor.as_fd(), !s.pending.is_empty())))
    }

    /// Reads what a stream has and passes it on. False if there was nothing.
    pub(super) fn read(&mut self, stream: Stream) -> bool {
        let Some(at) = self.sources.iter().position(|s| s.stream == stream) else { return false };
        let Some(source) = self.sources.get_mut(at) else { return false };
        let mut chunk = vec![0; CHUNK];
        match rustix::io::read(&source.descriptor, &mut chunk) {
            Ok(length) if length > 0 => {
                chunk.truncate(length);
                let mut text = Vec::with_capacity(length + length / 2);
                source.cutter.take(&chunk, clock::now(), &mut text);
                write_log(&mut self.log, &text);
                self.sinks.iter_mut().filter(|s| s.stream == stream).for_each(|s| s.pending.extend(&chunk));
            }
            Err(Errno::AGAIN | Errno::INTR) => return false,
            // A terminal whose last user is gone says EIO.
            Ok(_) | Err(_) => self.end(at),
        }
        true
    }

    /// Hands on what clients have not taken yet. Those that are gone are dropped, as are those that have everything of a
    /// stream that has ended.
    pub(super) fn flush(&mut self) {
        let open: Vec<Stream> = self.sources.iter().map(|s| s.stream).collect();
        self.sinks.retain_mut(|s| s.flush() && (open.contains(&s.stream) || !s.pending.is_empty()));
    }

    /// Drops a client that is gone.
    pub(super) fn drop_sink(&mut self, key: u64) {
        self.sinks.retain(|s| s.key != key);
    }

    /// The container has ended: from now on clients do not hold its output up.
    pub(super) fn start_ending(&mut self) {
        self.is_ending = true;
    }

    /// Ends every stream that still is open, after reading what is in it.
    pub(super) fn close(&mut self) {
        self.sinks.clear();
        while let Some(stream) = self.sources.first().map(|s| s.stream) {
            if !self.read(stream) {
                self.end(0);
            }
        }
    }

    fn end(&mut self, at: usize) {
        let mut source = self.sources.remove(at);
        let mut text = Vec::new();
        source.cutter.finish(clock::now(), &mut text);
        write_log(&mut self.log, &text);
    }

    /// Whether clients have still to take something.
    pub(super) fn is_pending(&self) -> bool {
        self.sinks.iter().any(|s| !s.pending.is_empty())
    }
}

impl Sink {
    /// Writes what it takes. False if it is gone.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.descriptor, &self.pending) {
                Ok(length) => {
                    self.pending.drain(..length);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

/// Writes whole lines. A log that cannot be written loses them: the container goes on, as with Docker.
fn write_log(log: &mut File, text: &[u8]) {
    if !text.is_empty()
        && let Err(e) = log.write_all(text)
    {
        eprintln!("write the log: {e}");
    }
}
