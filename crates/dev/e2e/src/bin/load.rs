//! Asks web servers over and over and counts what failed. Run in the namespace of whoever is to ask:
//!
//!     shoal lab exec client -- load --to 192.168.50.11:8000 --to 192.168.50.12:8000 --requests 1000000
//!
//! Nothing is ever tried again: a connection that cannot be made, that ends before its answer or that stays silent is a
//! failed request. The result is one line of JSON on standard output.
#![forbid(unsafe_code)]

use clap::Parser;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Failures whose beginning is told.
const FAILURES_MAX: usize = 1000;
/// Different failures that are told apart in the result.
const REASONS_MAX: usize = 32;

/// What is asked for.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to ask, `address:port`; given several times, in turn
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    /// Requests altogether, at most
    #[arg(long, default_value_t = 100_000_000)]
    requests: u64,
    /// Connections at a time
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests on one connection; given several times, by turns
    #[arg(long, default_values_t = [1, 20])]
    per_connection: Vec<u64>,
    /// Stop when this file is there
    #[arg(long)]
    until: Option<PathBuf>,
    /// Milliseconds that one request may take before it counts as failed: at first more than the kernel's first three tries
    /// of a SYN
    #[arg(long, default_value_t = 10_000)]
    patience: u64,
    /// Milliseconds that each client waits between its connections
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Stop after this many seconds at the latest
    #[arg(long, default_value_t = 900)]
    seconds: u64,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    requests: u64,
    failed: u64,
    connections: u64,
    /// Answers by the first line of their body.
    answers: BTreeMap<String, u64>,
    /// Failures by what went wrong.
    reasons: BTreeMap<String, u64>,
    /// When requests that failed began, milliseconds since 1970.
    failed_at_ms: Vec<u64>,
    slowest_ms: u64,
    /// Requests that took a second or more: a lost SYN or segment shows here even if it was sent again.
    slow: u64,
    seconds: f64,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.connections += other.connections;
        self.slow += other.slow;
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
        self.failed_at_ms.extend(other.failed_at_ms);
        for (total, part) in [(&mut self.answers, other.answers), (&mut self.reasons, other.reasons)] {
            for (text, count) in part {
                *total.entry(text).or_default() += count;
            }
        }
    }

    fn failed(&mut self, what: &str, to: SocketAddr, error: &io::Error, since: Instant) {
        self.failed += 1;
        let began = SystemTime::now().checked_sub(since.elapsed());
        let began = began.and_then(|began| began.duration_since(UNIX_EPOCH).ok());
        if let Some(began) = began.filter(|_| self.failed_at_ms.len() < FAILURES_MAX) {
            self.failed_at_ms.push(u64::try_from(began.as_millis()).unwrap_or(u64::MAX));
        }
        let reason = format!("{what} {to}: {error}");
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&reason) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    fn took(&mut self, since: Instant) {
        let elapsed = since.elapsed();
        self.slow += u64::from(elapsed >= Duration::from_secs(1));
        self.slowest_ms = self.slowest_ms.max(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    }
}

/// What the workers share.
struct Work {
    arguments: Arguments,
    left: AtomicU64,
    turn: AtomicU64,
    stop: AtomicBool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let deadline = Instant::now() + Duration::from_secs(arguments.seconds);
    let begun = Instant::now();
    let work = Work {
        left: AtomicU64::new(arguments.requests),
        turn: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        arguments,
    };
    let mut outcome = Outcome::default();
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> =
            (0..work.arguments.connections).map(|number| scope.spawn(move || ask(work, number))).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            let told = work.arguments.until.as_ref().is_some_and(|file| file.exists());
            if told || Instant::now() > deadline {
                work.stop.store(true, Ordering::Relaxed);
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        for worker in workers {
            if let Ok(part) = worker.join() {
                outcome.add(part);
            }
        }
    });
    outcome.seconds = begun.elapsed().as_secs_f64();
    match serde_json::to_string(&outcome) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("the result cannot be written: {error}"),
    }
    ExitCode::from(u8::from(outcome.failed > 0))
}

/// Makes connections and asks on them until there is nothing left to ask.
fn ask(work: &Work, number: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let kinds = &work.arguments.per_connection;
    let per_connection = kinds[number % kinds.len()].max(1);
    let pause = Duration::from_millis(work.arguments.pause);
    // The clients' beginnings are spread over the pause.
    let clients = u32::try_from(work.arguments.connections).unwrap_or(u32::MAX).max(1);
    thread::sleep(pause / clients * u32::try_from(number).unwrap_or(0));
    loop {
        let mut granted = 0;
        while granted < per_connection && work.take() {
            granted += 1;
        }
        if granted == 0 {
            return outcome;
        }
        let turn = work.turn.fetch_add(1, Ordering::Relaxed);
        let targets = work.arguments.to.len() as u64;
        let to = work.arguments.to[usize::try_from(turn % targets).unwrap_or(0)];
        let asked = on_one_connection(to, granted, work.patience(), &mut outcome);
        // What the server declined to answer on this connection is asked on another.
        work.left.fetch_add(granted - asked, Ordering::Relaxed);
        thread::sleep(pause);
    }
}

impl Work {
    fn patience(&self) -> Duration {
        Duration::from_millis(self.arguments.patience)
    }

    /// Takes one of the requests that are left.
    fn take(&self) -> bool {
        let one = |left: u64| left.checked_sub(1);
        !self.stop.load(Ordering::Relaxed)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok()
    }
}

/// Asks up to `times` on a new connection; tells how often it did.
fn on_one_connection(to: SocketAddr, times: u64, patience: Duration, outcome: &mut Outcome) -> u64 {
    let mut since = Instant::now();
    outcome.connections += 1;
    let mut stream = match connect(to, patience) {
        Ok(stream) => BufReader::new(stream),
        Err(error) => {
            outcome.requests += 1;
            outcome.failed("connecting to", to, &error, since);
            outcome.took(since);
            return 1;
        }
    };
    for nth in 1..=times {
        outcome.requests += 1;
        let asked = exchange(&mut stream, nth == times);
        outcome.took(since);
        match asked {
            Ok((answer, goes_on)) => {
                *outcome.answers.entry(answer).or_default() += 1;
                if !goes_on {
                    return nth;
                }
            }
            Err(error) => {
                outcome.failed(if nth == 1 { "asking" } else { "asking again" }, to, &error, since);
                return nth;
            }
        }
        since = Instant::now();
    }
    times
}

fn connect(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request and its answer: the first line of the body, and whether the connection goes on.
fn exchange(stream: &mut BufReader<TcpStream>, last: bool) -> io::Result<(String, bool)> {
    let connection = if last { "close" } else { "keep-alive" };
    let request = format!("GET / HTTP/1.1\r\nHost: load\r\nConnection: {connection}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let status = header_line(stream)?;
    if !status.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(format!("answered {status:?}")));
    }
    let (mut length, mut goes_on) = (0, !last);
    loop {
        let line = header_line(stream)?.to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", text)) => length = text.parse().map_err(io::Error::other)?,
            Some(("connection", "close")) => goes_on = false,
            Some(_) => {}
            None if line.is_empty() => break,
            None => return Err(io::Error::other(format!("odd header {line:?}"))),
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    Ok((body.lines().next().unwrap_or_default().to_owned(), goes_on))
}

fn header_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
