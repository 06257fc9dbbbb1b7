//! Limits and other properties of processes. They need the kernel's memory, pids and cpu cgroups.

use crate::fixture::{Host, eventually, exec_spec, finish, slurp};
use shoal_model::spec::Ulimit;
use shoal_runtime::{ContainerSpec, Error, ExecSpec, Limits};
use std::collections::BTreeMap;

crate::tests![
    too_much_memory_is_an_out_of_memory_kill,
    a_container_that_is_only_killed_is_not_out_of_memory,
    processes_are_limited,
    cpus_are_limited,
    the_container_cannot_lift_its_limits,
    limits_can_be_changed,
    a_paused_container_stands_still,
    ulimits_are_set,
    unknown_ulimits_are_refused,
    sysctls_are_set,
    the_oom_score_is_the_containers_only,
];

const MIB: u64 = 1024 * 1024;

fn limited(host: &Host, limits: Limits, script: &str) -> ContainerSpec {
    ContainerSpec { limits, ..host.spec(script) }
}

fn too_much_memory_is_an_out_of_memory_kill() {
    let host = Host::new();
    let limits = Limits { memory_bytes: Some(32 * MIB), ..Limits::default() };
    // The shell becomes tail, which keeps all of a line that never ends.
    let ended = host.run_spec(&limited(&host, limits, "exec tail < /dev/zero"));
    assert_eq!((ended.code, ended.out_of_memory), (137, true));
}

fn a_container_that_is_only_killed_is_not_out_of_memory() {
    let host = Host::new();
    let limits = Limits { memory_bytes: Some(32 * MIB), ..Limits::default() };
    let spec = limited(&host, limits, "sleep 1000");
    host.start(&spec);
    host.runtime.signal(&spec.id, libc::SIGKILL).unwrap();
    let ended = host.wait(&spec);
    assert_eq!((ended.code, ended.out_of_memory), (137, false));
}

fn processes_are_limited() {
    let host = Host::new();
    let limits = Limits { pids: Some(5), ..Limits::default() };
    let ended =
        host.run_spec(&limited(&host, limits, "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo never"));
    assert!(ended.errors.contains("can't fork: Resource temporarily unavailable"), "{ended:?}");
}

fn cgroup_value(host: &Host, spec: &ContainerSpec, controller: &str, file: &str) -> String {
    let directory =
        host.runtime.cgroup_directory(&spec.id, controller).unwrap().expect("the controller is there");
    slurp(directory.join(file)).trim().to_owned()
}

fn cpus_are_limited() {
    let host = Host::new();
    let spec =
        limited(&host, Limits { nano_cpus: Some(10_000_000), ..Limits::default() }, "while :; do :; done");
    host.start(&spec);
    eventually("it is throttled", || {
        let stat = cgroup_value(&host, &spec, "cpu", "cpu.stat");
        stat.lines().any(|l| l.strip_prefix("nr_throttled ").is_some_and(|n| n != "0"))
    });
}

fn the_container_cannot_lift_its_limits() {
    let host = Host::new();
    let limits = Limits { pids: Some(50), ..Limits::default() };
    let script = "cd /sys/fs/cgroup; ls; for f in pids/pids.max pids.max; do test -e $f && echo max > $f; done; touch x; echo $?";
    let ended = host.run_spec(&limited(&host, limits, script));
    assert!(ended.errors.contains("Read-only file system"), "{ended:?}");
    assert!(ended.output.ends_with("1\n"), "{ended:?}");
}

fn limits_can_be_changed() {
    let host = Host::new();
    let spec = limited(
        &host,
        Limits { memory_bytes: Some(32 * MIB), pids: Some(5), ..Limits::default() },
        "sleep 1000",
    );
    host.start(&spec);
    for bytes in [256 * MIB, 64 * MIB] {
        let limits = Limits { memory_bytes: Some(bytes), ..Limits::default() };
        host.runtime.update(&spec.id, &limits).unwrap();
        let file = if host
            .runtime
            .cgroup_directory(&spec.id, "memory")
            .unwrap()
            .unwrap()
            .join("memory.max")
            .exists()
        {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        assert_eq!(cgroup_value(&host, &spec, "memory", file), bytes.to_string());
    }
    assert_eq!(cgroup_value(&host, &spec, "pids", "pids.max"), "5");
}

fn a_paused_container_stands_still() {
    let host = Host::new();
    let spec = host.spec("while :; do echo tick; sleep 0.01; done");
    host.start(&spec);
    host.runtime.pause(&spec.id).unwrap();
    assert!(host.info(&spec).paused);
    host.runtime.unpause(&spec.id).unwrap();
    assert!(!host.info(&spec).paused);
    host.runtime.pause(&spec.id).unwrap();
    host.runtime.signal(&spec.id, libc::SIGKILL).unwrap();
    assert_eq!(host.wait(&spec).code, 137);
    assert!(matches!(host.runtime.pause(&spec.id), Err(Error::NotRunning(_))));
}

fn ulimits_are_set() {
    let host = Host::new();
    let ulimits = vec![Ulimit { name: "nofile".into(), soft: 123, hard: 456 }];
    let spec = ContainerSpec { ulimits, ..host.spec("ulimit -S -n; ulimit -H -n") };
    assert_eq!(host.run_spec(&spec).text(), "123\n456");
}

fn unknown_ulimits_are_refused() {
    let host = Host::new();
    let spec =
        ContainerSpec { ulimits: vec![Ulimit { name: "x".into(), soft: 1, hard: 1 }], ..host.spec("true") };
    assert!(matches!(host.runtime.create(&spec), Err(Error::InvalidSpec(_))));
}

fn sysctls_are_set() {
    let host = Host::new();
    let sysctls = BTreeMap::from([("kernel.msgmax".to_owned(), "12345".to_owned())]);
    let spec = ContainerSpec { sysctls, ..host.spec("cat /proc/sys/kernel/msgmax") };
    assert_eq!(host.run_spec(&spec).text(), "12345");
    let sysctls = BTreeMap::from([("kernel.nosuch".to_owned(), "1".to_owned())]);
    let error = host.runtime.create(&ContainerSpec { sysctls, ..host.spec("true") }).unwrap_err();
    assert!(error.to_string().contains("kernel.nosuch"), "{error}");
}

fn the_oom_score_is_the_containers_only() {
    let host = Host::new();
    let spec = ContainerSpec { oom_score_adj: 500, ..host.spec("cat /proc/self/oom_score_adj; sleep 1000") };
    host.start(&spec);
    let wanted = ExecSpec { ..exec_spec("cat /proc/self/oom_score_adj") };
    assert_eq!(finish(host.runtime.exec(&spec.id, &wanted).unwrap()).0, "500\n");
    let pid = host.info(&spec).pid.unwrap();
    let status = slurp(format!("/proc/{pid}/status"));
    let shim = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned();
    assert_ne!(slurp(format!("/proc/{shim}/oom_score_adj")), "500\n");
}
