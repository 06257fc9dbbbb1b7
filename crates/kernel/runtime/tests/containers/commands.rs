//! From creation to the end.

use crate::fixture::{DEADLINE, Host, eventually};
use shoal_model::assignment::ContainerState;
use shoal_runtime::{ContainerSpec, Error};
use std::time::Instant;

crate::tests![
    a_container_is_created_then_started_then_over,
    exit_codes_come_through,
    a_signal_is_128_and_its_number,
    the_stop_signal_can_be_handled,
    the_hostname_and_the_environment_are_set,
    a_missing_command_is_refused_in_dockers_words,
    a_file_that_cannot_be_executed_is_refused,
    a_broken_interpreter_is_told_at_the_start,
    ids_are_not_given_twice,
    a_running_container_is_not_removed,
    a_created_container_can_be_removed,
    an_init_reaps_orphans_and_hands_on_signals,
    a_missing_working_directory_is_made,
    twenty_containers_start_at_once,
];

fn a_container_is_created_then_started_then_over() {
    let host = Host::new();
    let spec = host.spec("read line < /dev/null; sleep 1000");
    host.runtime.create(&spec).unwrap();
    let info = host.info(&spec);
    assert_eq!((info.state, info.annotations), (ContainerState::Created, spec.annotations.clone()));
    host.runtime.start(&spec.id).unwrap();
    let info = host.info(&spec);
    assert!(matches!(info.state, ContainerState::Running { pid, .. } if Some(pid) == info.pid), "{info:?}");
    assert!(matches!(host.runtime.start(&spec.id), Err(Error::Started(_))));
    host.runtime.signal(&spec.id, libc::SIGKILL).unwrap();
    assert_eq!(host.wait(&spec).code, 137);
    assert!(matches!(host.runtime.signal(&spec.id, 15), Err(Error::NotRunning(_))));
    host.runtime.remove(&spec.id).unwrap();
    assert_eq!(host.runtime.state(&spec.id).unwrap(), None);
    host.runtime.remove(&spec.id).unwrap();
    assert!(matches!(host.runtime.start(&spec.id), Err(Error::NotFound(_))));
}

fn exit_codes_come_through() {
    let host = Host::new();
    for code in [0, 1, 42, 255] {
        assert_eq!(host.run(&format!("exit {code}")).code, code);
    }
}

fn a_signal_is_128_and_its_number() {
    let host = Host::new();
    let spec = ContainerSpec {
        args: vec!["sh".into(), "-c".into(), "(kill -9 $$); exit".into()],
        init: true,
        ..host.spec("")
    };
    assert_eq!(host.run_spec(&spec).code, 137);
}

fn the_stop_signal_can_be_handled() {
    let host = Host::new();
    let spec = host.spec("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    host.start(&spec);
    eventually("the trap is set", || crate::fixture::output(&spec, true, false) == "ready\n");
    host.runtime.signal(&spec.id, libc::SIGTERM).unwrap();
    let ended = host.wait(&spec);
    assert_eq!((ended.code, ended.output.as_str()), (3, "ready\nbye\n"));
}

fn the_hostname_and_the_environment_are_set() {
    let host = Host::new();
    let spec = ContainerSpec {
        hostname: "web-1".into(),
        env: vec!["A=b c".into()],
        ..host.spec("hostname; echo $A; echo $HOME; echo $PATH; echo $HOSTNAME; echo $$")
    };
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(host.run_spec(&spec).text(), format!("web-1\nb c\n/root\n{path}\nweb-1\n1"));
}

fn create_error(host: &Host, args: &[&str]) -> Error {
    let spec = ContainerSpec { args: args.iter().map(ToString::to_string).collect(), ..host.spec("") };
    let error = host.runtime.create(&spec).unwrap_err();
    assert_eq!(host.runtime.state(&spec.id).unwrap(), None, "nothing is left");
    error
}

fn a_missing_command_is_refused_in_dockers_words() {
    let host = Host::new();
    let error = create_error(&host, &["nosuch", "x"]);
    assert!(matches!(error, Error::Command { exit_code: 127, .. }), "{error:?}");
    assert_eq!(error.to_string(), "exec: \"nosuch\": executable file not found in $PATH");
    let error = create_error(&host, &["/no/such"]);
    assert_eq!(error.to_string(), "exec: \"/no/such\": stat /no/such: no such file or directory");
}

fn a_file_that_cannot_be_executed_is_refused() {
    let host = Host::new();
    let error = create_error(&host, &["/etc/passwd"]);
    assert!(matches!(error, Error::Command { exit_code: 126, .. }), "{error:?}");
    assert_eq!(error.to_string(), "exec: \"/etc/passwd\": permission denied");
}

fn a_broken_interpreter_is_told_at_the_start() {
    let host = Host::new();
    let script = host.root.join("image/bin/broken");
    std::fs::write(&script, "#!/no/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let spec = ContainerSpec { args: vec!["broken".into()], ..host.spec("") };
    host.runtime.create(&spec).unwrap();
    let error = host.runtime.start(&spec.id).unwrap_err();
    assert_eq!(error.to_string(), "exec /bin/broken: no such file or directory");
    assert_eq!(host.wait(&spec).code, 127);
    assert_eq!(host.info(&spec).error.as_deref(), Some("exec /bin/broken: no such file or directory"));
}

fn ids_are_not_given_twice() {
    let host = Host::new();
    let spec = host.spec("sleep 1000");
    host.start(&spec);
    assert!(matches!(host.runtime.create(&spec), Err(Error::Exists(_))));
    assert!(matches!(host.info(&spec).state, ContainerState::Running { .. }));
    let bad = ContainerSpec { id: "../x".into(), ..host.spec("true") };
    assert!(matches!(host.runtime.create(&bad), Err(Error::InvalidSpec(_))));
}

fn a_running_container_is_not_removed() {
    let host = Host::new();
    let spec = host.spec("sleep 1000");
    host.start(&spec);
    assert!(matches!(host.runtime.remove(&spec.id), Err(Error::Running(_))));
    assert!(matches!(host.info(&spec).state, ContainerState::Running { .. }));
}

fn a_created_container_can_be_removed() {
    let host = Host::new();
    let spec = host.spec("sleep 1000");
    host.runtime.create(&spec).unwrap();
    let pid = host.info(&spec).pid.unwrap();
    host.runtime.remove(&spec.id).unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(host.runtime.list().unwrap(), []);
}

fn an_init_reaps_orphans_and_hands_on_signals() {
    let host = Host::new();
    let script = "trap 'exit 5' TERM; for i in 1 2 3 4 5; do (sleep 0.01 &); done; echo ready; while :; do sleep 0.05; done";
    let spec = ContainerSpec { init: true, ..host.spec(script) };
    host.start(&spec);
    eventually("it is ready", || crate::fixture::output(&spec, true, false) == "ready\n");
    let (shown, ..) =
        crate::fixture::finish(host.exec(&spec, "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/comm"));
    assert!(shown.starts_with("/sbin/docker-init -- sh -c trap"), "{shown}");
    assert!(shown.ends_with("docker-init\n"), "{shown}");
    eventually("no zombie is left", || {
        let states = host.runtime.processes(&spec.id).unwrap();
        let stat = |pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !states.into_iter().any(|pid| stat(pid).contains(") Z "))
    });
    host.runtime.signal(&spec.id, libc::SIGTERM).unwrap();
    assert_eq!(host.wait(&spec).code, 5);
}

fn a_missing_working_directory_is_made() {
    let host = Host::new();
    let spec = ContainerSpec { cwd: "/srv/app".into(), ..host.spec("pwd") };
    assert_eq!(host.run_spec(&spec).text(), "/srv/app");
    let spec = ContainerSpec { cwd: "srv".into(), ..host.spec("pwd") };
    assert!(matches!(host.runtime.create(&spec), Err(Error::InvalidSpec(_))));
}

fn twenty_containers_start_at_once() {
    let host = Host::new();
    let specs: Vec<ContainerSpec> = (0..20).map(|n| host.spec(&format!("echo {n}"))).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for spec in &specs {
            scope.spawn(|| host.start(spec));
        }
    });
    assert!(started.elapsed() < DEADLINE);
    for (n, spec) in specs.iter().enumerate() {
        assert_eq!(host.wait(spec).text(), n.to_string());
    }
    assert_eq!(host.runtime.list().unwrap().len(), 20);
}
