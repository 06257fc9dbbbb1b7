//! Standard streams, the log, attaching.

use crate::fixture::{DEADLINE, Host, eventually, output, read_until, readable};
use shoal_model::assignment::ContainerState;
use shoal_runtime::logs::{LogQuery, follow};
use shoal_runtime::{AttachSpec, ContainerSpec, Error};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

crate::tests![
    both_streams_go_to_the_log,
    a_lot_of_output_is_written_whole,
    the_log_is_followed_to_the_end,
    clients_attached_before_the_start_see_everything,
    a_client_that_goes_does_not_hold_the_container_up,
    a_client_that_does_not_read_at_the_end_does_not_keep_the_container_alive,
    input_reaches_the_container_and_its_end_too,
    input_stays_open_for_the_next_client_if_wanted,
    a_terminal_has_a_size_and_echoes,
    a_container_without_input_reads_nothing,
];

fn both_streams_go_to_the_log() {
    let host = Host::new();
    let spec = host.spec("echo out; echo err >&2; printf end");
    let ended = host.run_spec(&spec);
    assert_eq!((ended.output.as_str(), ended.errors.as_str()), ("out\nend", "err\n"));
    let raw = std::fs::read_to_string(&spec.log_path).unwrap();
    assert!(raw.lines().any(|l| l.starts_with(r#"{"log":"err\n","stream":"stderr","time":"20"#)), "{raw}");
}

fn a_lot_of_output_is_written_whole() {
    let host = Host::new();
    let ended = host.run("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\\0' x");
    let expected: Vec<String> = (0..3000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(ended.output, expected.concat() + &"x".repeat(100_000));
}

fn the_log_is_followed_to_the_end() {
    let host = Host::new();
    let spec = host.spec("for i in 1 2 3; do echo $i; sleep 0.1; done");
    host.start(&spec);
    let query = LogQuery { stdout: true, stderr: true, ..LogQuery::default() };
    let mut text = String::new();
    let ended = || matches!(host.info(&spec).state, ContainerState::Exited { .. });
    follow(&spec.log_path, &query, &AtomicBool::new(false), ended, |line| {
        text.push_str(&String::from_utf8(line.bytes).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(text, "1\n2\n3\n");
}

const OUTPUTS: AttachSpec = AttachSpec { stdin: false, stdout: true, stderr: true };

fn clients_attached_before_the_start_see_everything() {
    let host = Host::new();
    let spec = host.spec("echo out; echo err >&2");
    host.runtime.create(&spec).unwrap();
    let clients =
        [host.runtime.attach(&spec.id, &OUTPUTS).unwrap(), host.runtime.attach(&spec.id, &OUTPUTS).unwrap()];
    host.runtime.start(&spec.id).unwrap();
    for client in clients {
        assert!(client.stdin.is_none());
        assert_eq!(read_until(&client.stdout.unwrap(), |_| false), "out\n");
        assert_eq!(read_until(&client.stderr.unwrap(), |_| false), "err\n");
    }
    host.wait(&spec);
    assert!(matches!(host.runtime.attach(&spec.id, &OUTPUTS), Err(Error::NotRunning(_))));
}

fn a_client_that_goes_does_not_hold_the_container_up() {
    let host = Host::new();
    let spec = host.spec("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo done >&2");
    host.runtime.create(&spec).unwrap();
    let client = host.runtime.attach(&spec.id, &OUTPUTS).unwrap();
    host.runtime.start(&spec.id).unwrap();
    let stdout = client.stdout.unwrap();
    assert!(readable(&stdout, Instant::now() + DEADLINE));
    drop(stdout);
    assert_eq!(host.wait(&spec).errors, "done\n");
}

fn a_client_that_does_not_read_at_the_end_does_not_keep_the_container_alive() {
    let host = Host::new();
    let spec = host.spec("sleep 0.1; head -c 100000 /dev/zero | tr '\\0' x & sleep 0.5; kill -9 $$");
    let spec = ContainerSpec { init: true, ..spec };
    host.runtime.create(&spec).unwrap();
    let _client = host.runtime.attach(&spec.id, &OUTPUTS).unwrap();
    host.runtime.start(&spec.id).unwrap();
    assert_eq!(host.wait(&spec).code, 137);
}

fn input_reaches_the_container_and_its_end_too() {
    let host = Host::new();
    let spec = ContainerSpec { open_stdin: true, stdin_once: true, ..host.spec("cat; echo end") };
    host.runtime.create(&spec).unwrap();
    let client = host.runtime.attach(&spec.id, &AttachSpec { stdin: true, ..OUTPUTS }).unwrap();
    host.runtime.start(&spec.id).unwrap();
    let (stdin, stdout) = (client.stdin.unwrap(), client.stdout.unwrap());
    rustix::io::write(&stdin, b"hello\n").unwrap();
    assert_eq!(read_until(&stdout, |t| t.ends_with('\n')), "hello\n");
    drop(stdin);
    assert_eq!(read_until(&stdout, |_| false), "end\n");
    assert_eq!(host.wait(&spec).text(), "hello\nend");
}

fn input_stays_open_for_the_next_client_if_wanted() {
    let host = Host::new();
    let spec = ContainerSpec { open_stdin: true, ..host.spec("read a; read b; echo $a $b") };
    host.start(&spec);
    for word in ["one\n", "two\n"] {
        let client =
            host.runtime.attach(&spec.id, &AttachSpec { stdin: true, ..AttachSpec::default() }).unwrap();
        rustix::io::write(client.stdin.unwrap(), word.as_bytes()).unwrap();
    }
    assert_eq!(host.wait(&spec).text(), "one two");
}

fn a_terminal_has_a_size_and_echoes() {
    let host = Host::new();
    let script = "tty; stty size; read line; stty size; test -t 1 && echo $TERM";
    let spec = ContainerSpec {
        terminal: true,
        open_stdin: true,
        terminal_size: Some((24, 80)),
        ..host.spec(script)
    };
    host.runtime.create(&spec).unwrap();
    let client = host.runtime.attach(&spec.id, &AttachSpec { stdin: true, ..OUTPUTS }).unwrap();
    host.runtime.start(&spec.id).unwrap();
    let (stdin, stdout) = (client.stdin.unwrap(), client.stdout.unwrap());
    let text = read_until(&stdout, |t| t.contains("24 80"));
    assert!(text.starts_with("/dev/pts/0\r\n"), "{text:?}");
    host.runtime.resize(&spec.id, 41, 123).unwrap();
    rustix::io::write(&stdin, b"go\n").unwrap();
    assert_eq!(read_until(&stdout, |_| false).trim_start(), "go\r\n41 123\r\nxterm\r\n");
    assert_eq!(host.wait(&spec).code, 0);
    eventually("the log has it all", || output(&spec, true, false).ends_with("xterm\r\n"));
}

fn a_container_without_input_reads_nothing() {
    let host = Host::new();
    assert_eq!(host.run("read line || echo empty").text(), "empty");
}
