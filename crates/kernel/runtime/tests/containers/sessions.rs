//! Exec.

use crate::fixture::{DEADLINE, Host, exec_spec, finish, read_until};
use shoal_runtime::{ContainerSpec, Error, ExecSpec, ExecStdio};
use std::time::{Duration, Instant};

crate::tests![
    output_and_exit_code_come_back,
    input_is_handed_on,
    a_terminal_is_given_sized_and_resized,
    a_terminal_hangs_up_when_its_streams_are_dropped,
    it_runs_in_the_container_with_its_environment,
    the_user_and_the_directory_can_be_chosen,
    a_missing_command_is_refused_in_dockers_words,
    it_can_be_signalled,
    a_detached_one_needs_no_listener,
    it_ends_with_its_container,
    it_needs_a_running_container,
    many_run_at_once_and_leave_nothing,
    a_long_specification_is_no_trouble,
];

fn sleeping(host: &Host) -> ContainerSpec {
    let spec = ContainerSpec { env: vec!["A=1".into(), "B=2".into()], ..host.spec("sleep 1000") };
    host.start(&spec);
    spec
}

fn output_and_exit_code_come_back() {
    let host = Host::new();
    let spec = sleeping(&host);
    let process = host.exec(&spec, "echo out; echo err >&2; exit 7");
    assert!(process.control.pid() > 1);
    assert_eq!(finish(process), ("out\n".into(), "err\n".into(), 7));
    let process = host.exec(&spec, "kill -9 $$");
    assert_eq!(finish(process).2, 137);
}

fn input_is_handed_on() {
    let host = Host::new();
    let spec = sleeping(&host);
    let wanted = ExecSpec { attach_stdin: true, ..exec_spec("cat; echo end") };
    let process = host.runtime.exec(&spec.id, &wanted).unwrap();
    let ExecStdio::Pipes { stdin, stdout, .. } = process.stdio else { panic!("it has pipes") };
    rustix::io::write(stdin.as_ref().unwrap(), b"hello\n").unwrap();
    assert_eq!(read_until(&stdout, |t| t.ends_with('\n')), "hello\n");
    drop(stdin);
    assert_eq!(read_until(&stdout, |_| false), "end\n");
    assert_eq!(process.control.wait(DEADLINE).unwrap(), Some(0));
}

fn a_terminal_is_given_sized_and_resized() {
    let host = Host::new();
    let spec = sleeping(&host);
    let wanted = ExecSpec {
        terminal: true,
        terminal_size: Some((30, 100)),
        ..exec_spec("tty; stty size; echo $TERM; read line; stty size; exit 7")
    };
    let process = host.runtime.exec(&spec.id, &wanted).unwrap();
    let ExecStdio::Terminal(master) = process.stdio else { panic!("it has a terminal") };
    assert_eq!(read_until(&master, |t| t.contains("xterm")), "/dev/pts/0\r\n30 100\r\nxterm\r\n");
    process.control.resize(41, 123).unwrap();
    rustix::io::write(&*master, b"go\n").unwrap();
    assert_eq!(read_until(&master, |_| false), "go\r\n41 123\r\n");
    assert_eq!(process.control.wait(DEADLINE).unwrap(), Some(7));
}

fn a_terminal_hangs_up_when_its_streams_are_dropped() {
    let host = Host::new();
    let spec = sleeping(&host);
    let process =
        host.runtime.exec(&spec.id, &ExecSpec { terminal: true, ..exec_spec("sleep 1000") }).unwrap();
    drop(process.stdio);
    assert_eq!(process.control.wait(DEADLINE).unwrap(), Some(128 + libc::SIGHUP));
}

fn it_runs_in_the_container_with_its_environment() {
    let host = Host::new();
    let spec = sleeping(&host);
    let wanted = ExecSpec {
        env: vec!["B=3".into()],
        ..exec_spec("echo $A $B $HOME; hostname; cat /proc/1/cmdline | tr '\\0' ' '")
    };
    let (text, errors, code) = finish(host.runtime.exec(&spec.id, &wanted).unwrap());
    assert_eq!((text.as_str(), errors.as_str(), code), ("1 3 /root\nbox\nsleep 1000 ", "", 0));
}

fn the_user_and_the_directory_can_be_chosen() {
    let host = Host::new();
    let spec = sleeping(&host);
    let wanted = ExecSpec {
        user: "web".into(),
        cwd: "/tmp".into(),
        ..exec_spec("id -u; id -G; pwd; echo $HOME; grep CapEff /proc/self/status")
    };
    let (text, ..) = finish(host.runtime.exec(&spec.id, &wanted).unwrap());
    assert_eq!(text, "1000\n1001 50\n/tmp\n/srv\nCapEff:\t0000000000000000\n");
    let unknown = ExecSpec { user: "nosuch".into(), ..exec_spec("true") };
    let error = host.runtime.exec(&spec.id, &unknown).unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nosuch: no matching entries in passwd file");
}

fn a_missing_command_is_refused_in_dockers_words() {
    let host = Host::new();
    let spec = sleeping(&host);
    let wanted = ExecSpec { args: vec!["nosuch".into()], ..ExecSpec::default() };
    let error = host.runtime.exec(&spec.id, &wanted).unwrap_err();
    assert!(matches!(error, Error::Command { exit_code: 127, .. }), "{error:?}");
    assert_eq!(error.to_string(), "exec: \"nosuch\": executable file not found in $PATH");
    assert_eq!(finish(host.exec(&spec, "echo on")).0, "on\n", "the container goes on");
}

fn it_can_be_signalled() {
    let host = Host::new();
    let spec = sleeping(&host);
    let process = host.exec(&spec, "sleep 1000");
    assert_eq!(process.control.wait(Duration::from_millis(1)).unwrap(), None);
    process.control.signal(libc::SIGKILL).unwrap();
    assert_eq!(process.control.wait(DEADLINE).unwrap(), Some(137));
    process.control.signal(libc::SIGKILL).unwrap();
    assert_eq!(process.control.wait(DEADLINE).unwrap(), Some(137));
}

fn a_detached_one_needs_no_listener() {
    let host = Host::new();
    let spec = sleeping(&host);
    for terminal in [false, true] {
        let script = "yes | head -c 300000; test -t 1; echo $? > /tmp/done; exit 4";
        let control =
            host.runtime.exec_detached(&spec.id, &ExecSpec { terminal, ..exec_spec(script) }).unwrap();
        assert_eq!(control.wait(DEADLINE).unwrap(), Some(4));
        let is_terminal = std::fs::read_to_string(spec.rootfs.upper.join("tmp/done")).unwrap();
        assert_eq!(is_terminal, if terminal { "0\n" } else { "1\n" });
    }
    // Also when the caller's handle is gone.
    drop(
        host.runtime
            .exec_detached(
                &spec.id,
                &ExecSpec {
                    terminal: true,
                    ..exec_spec("sleep 0.3; yes | head -c 300000; echo end > /tmp/end")
                },
            )
            .unwrap(),
    );
    crate::fixture::eventually("it is done", || spec.rootfs.upper.join("tmp/end").exists());
}

fn it_ends_with_its_container() {
    let host = Host::new();
    let spec = sleeping(&host);
    let process = host.exec(&spec, "sleep 1000");
    host.runtime.signal(&spec.id, libc::SIGKILL).unwrap();
    assert!(crate::fixture::readable(process.control.end_descriptor(), Instant::now() + DEADLINE));
    assert_eq!(process.control.wait(DEADLINE).unwrap(), Some(137));
    assert_eq!(host.wait(&spec).code, 137);
}

fn it_needs_a_running_container() {
    let host = Host::new();
    let spec = host.spec("true");
    assert!(matches!(host.runtime.exec(&spec.id, &exec_spec("true")), Err(Error::NotFound(_))));
    host.runtime.create(&spec).unwrap();
    assert!(matches!(host.runtime.exec(&spec.id, &exec_spec("true")), Err(Error::NotRunning(_))));
    host.runtime.start(&spec.id).unwrap();
    host.wait(&spec);
    assert!(matches!(host.runtime.exec(&spec.id, &exec_spec("true")), Err(Error::NotRunning(_))));
}

fn many_run_at_once_and_leave_nothing() {
    let host = Host::new();
    let spec = sleeping(&host);
    std::thread::scope(|scope| {
        for n in 0..10 {
            let (host, spec) = (&host, &spec);
            scope.spawn(move || {
                let (text, _, code) = finish(host.exec(spec, &format!("echo {n}; exit {n}")));
                assert_eq!((text, code), (format!("{n}\n"), n));
            });
        }
    });
    let state = host.root.join("containers").join(&spec.id);
    assert_eq!(std::fs::read_dir(state.join("execs")).unwrap().count(), 0);
    assert_eq!(host.runtime.processes(&spec.id).unwrap().len(), 1);
}

fn a_long_specification_is_no_trouble() {
    let host = Host::new();
    let spec = sleeping(&host);
    let env = (0..20).map(|n| format!("LONG{n}={}", "x".repeat(20_000))).collect();
    let wanted = ExecSpec { env, ..exec_spec("echo ${#LONG19}") };
    assert_eq!(finish(host.runtime.exec(&spec.id, &wanted).unwrap()).0, "20000\n");
}
