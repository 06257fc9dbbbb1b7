//! The server as its clients and its container's runtime see it, on the loopback address.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    port: u16,
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_whoami"))
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("Listening on :").unwrap().parse().unwrap();
        Self { child, port, _output: output }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream
    }

    /// Sends this and returns everything until the server closes.
    fn say(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Exit code, once it has ended.
    fn code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// Reads one answer with its body from a connection that stays open.
fn one_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
    }
    let length = text.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

#[test]
fn it_says_who_it_is() {
    let server = Server::start();
    let answer = server.say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(&format!("\r\n\r\nI'm {}\n", hostname())), "{answer}");
}

#[test]
fn it_tells_the_client_what_it_saw_of_it() {
    let server = Server::start();
    let answer = server.say("GET /?verbose HTTP/1.1\r\nHost: x\r\nX-Mine: 1\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("\nclient 127.0.0.1:"), "{answer}");
    assert!(answer.contains("\nGET /?verbose HTTP/1.1\nHost: x\nX-Mine: 1\n"), "{answer}");
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n").unwrap();
    for _ in 0..2 {
        assert!(one_answer(&mut stream).contains("Connection: keep-alive"));
    }
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("Connection: close"), "{rest}");
}

#[test]
fn head_has_the_length_and_no_body() {
    let server = Server::start();
    let answer = server.say("HEAD / HTTP/1.0\r\n\r\n");
    assert!(answer.contains(&format!("Content-Length: {}\r\n", hostname().len() + 5)), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn what_it_cannot_answer_is_refused() {
    let server = Server::start();
    assert!(server.say("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").starts_with("HTTP/1.1 405 "));
    assert!(server.say("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

#[test]
fn both_families_reach_it() {
    let server = Server::start();
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_ok());
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        assert!(TcpStream::connect(("::1", server.port)).is_ok());
    }
}

#[test]
fn it_finishes_its_answers_and_ends_well() {
    let mut server = Server::start();
    let mut slow = server.connect();
    slow.write_all(b"GET /slow?ms=700 HTTP/1.1\r\n\r\n").unwrap();
    let mut idle = server.connect();
    idle.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    one_answer(&mut idle);
    let mut late = server.connect();
    server.terminate();
    // Once nobody new gets in, the signal has been taken.
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
        assert!(Instant::now() < deadline, "the port is still open");
    }
    idle.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(one_answer(&mut idle).contains("Connection: close"), "a kept connection is told that it is over");
    late.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(one_answer(&mut late).contains("Connection: close"), "a client that was connected is served");
    let answer = one_answer(&mut slow);
    assert!(answer.contains("200 OK") && answer.contains("Connection: close"), "{answer}");
    assert_eq!(server.code(), Some(0));
}

#[test]
fn silent_clients_do_not_hold_it_up() {
    let mut server = Server::start();
    let _silent = server.connect();
    server.terminate();
    let begin = Instant::now();
    assert_eq!(server.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5));
}
