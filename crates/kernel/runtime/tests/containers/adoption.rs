//! Containers outlive the daemon that made them, and are seen truly when their shim is gone.

use crate::fixture::{DEADLINE, Host, eventually, finish, output, slurp};
use shoal_model::assignment::ContainerState;
use shoal_runtime::ContainerSpec;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

crate::tests![
    containers_outlive_their_daemon_and_are_adopted,
    a_created_container_is_started_by_the_next_daemon,
    killing_the_shim_ends_the_container,
    killing_the_shim_of_a_created_container_ends_it_too,
    a_shim_that_died_while_making_is_seen_and_removed,
    the_shim_runs_from_a_sealed_copy,
    the_shim_keeps_nothing_of_its_daemon,
    long_paths_are_no_trouble,
];

/// The other process: a daemon that makes containers as the words say, tells when it is done, and waits to be killed.
pub(crate) fn create_and_wait(mut words: impl Iterator<Item = OsString>) {
    let mut word = || words.next().unwrap().into_string().unwrap();
    let host = Host::open(&PathBuf::from(word()), &word());
    let specs: Vec<ContainerSpec> = serde_json::from_str(&word()).unwrap();
    for (spec, step) in specs.iter().zip(word().chars()) {
        host.runtime.create(spec).unwrap();
        if step == 's' {
            host.runtime.start(&spec.id).unwrap();
        }
    }
    fs::write(host.root.join("done"), "").unwrap();
    std::thread::sleep(DEADLINE);
}

/// Lets another process make containers (`s` starts one, `c` only creates it) and kills it.
fn made_by_a_killed_daemon(host: &Host, specs: &[ContainerSpec], steps: &str) {
    let mut daemon = Command::new("/proc/self/exe")
        .arg("creator")
        .args([
            host.root.to_str().unwrap(),
            &host.cgroup_parent,
            &serde_json::to_string(specs).unwrap(),
            steps,
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the containers are made", || {
        assert!(daemon.try_wait().unwrap().is_none(), "the daemon has failed");
        host.root.join("done").exists()
    });
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

fn containers_outlive_their_daemon_and_are_adopted() {
    let host = Host::new();
    let specs = [
        host.spec("trap 'echo bye; exit 3' TERM; while :; do echo tick; sleep 0.02; done"),
        host.spec("sleep 0.3; exit 9"),
    ];
    made_by_a_killed_daemon(&host, &specs, "ss");
    let found: Vec<_> = host.runtime.list().unwrap().into_iter().map(|i| (i.id, i.annotations)).collect();
    assert_eq!(found, specs.clone().map(|s| (s.id, s.annotations)));
    let ticks = || output(&specs[0], true, false).lines().count();
    let before = ticks();
    eventually("it still writes its log", || ticks() > before + 2);
    assert_eq!(finish(host.exec(&specs[0], "echo in")).0, "in\n");
    assert_eq!(host.wait(&specs[1]).code, 9, "its end was kept");
    host.runtime.signal(&specs[0].id, libc::SIGTERM).unwrap();
    assert_eq!(host.wait(&specs[0]).code, 3);
}

fn a_created_container_is_started_by_the_next_daemon() {
    let host = Host::new();
    let spec = host.spec("echo started");
    made_by_a_killed_daemon(&host, std::slice::from_ref(&spec), "c");
    assert_eq!(host.info(&spec).state, ContainerState::Created);
    host.runtime.start(&spec.id).unwrap();
    assert_eq!(host.wait(&spec).text(), "started");
}

fn parent(pid: u32) -> u32 {
    let status = slurp(format!("/proc/{pid}/status"));
    status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

fn kill_shim_of(host: &Host, spec: &ContainerSpec) {
    let pid = host.info(spec).pid.unwrap();
    let descriptor = host.runtime.wait_fd(&spec.id).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(parent(pid).cast_signed()), nix::sys::signal::SIGKILL)
        .unwrap();
    assert!(
        crate::fixture::readable(&descriptor, std::time::Instant::now() + DEADLINE),
        "the daemon is woken"
    );
    eventually("the container is dead", || !is_alive(pid));
    let info = host.info(spec);
    assert!(matches!(info.state, ContainerState::Exited { code: 137, .. }), "{info:?}");
    assert_eq!(host.runtime.list().unwrap(), [info], "it is seen alike every time");
    host.runtime.remove(&spec.id).unwrap();
}

fn killing_the_shim_ends_the_container() {
    let host = Host::new();
    let spec = ContainerSpec { user: "web".into(), ..host.spec("sleep 1000 & sleep 1000") };
    host.start(&spec);
    kill_shim_of(&host, &spec);
}

fn killing_the_shim_of_a_created_container_ends_it_too() {
    let host = Host::new();
    let spec = host.spec("sleep 1000");
    host.runtime.create(&spec).unwrap();
    kill_shim_of(&host, &spec);
}

fn a_shim_that_died_while_making_is_seen_and_removed() {
    let host = Host::new();
    let spec = host.spec("sleep 1000");
    host.start(&spec);
    let state = host.root.join("containers").join(&spec.id);
    let pid = host.info(&spec).pid.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(parent(pid).cast_signed()), nix::sys::signal::SIGKILL)
        .unwrap();
    eventually("the container is dead", || !is_alive(pid));
    fs::remove_file(state.join("state.json")).unwrap();
    assert!(matches!(host.info(&spec).state, ContainerState::Exited { code: 128, .. }));
    host.runtime.remove(&spec.id).unwrap();
    assert!(!state.exists());
}

fn the_shim_runs_from_a_sealed_copy() {
    let host = Host::new();
    let spec = host.spec("sleep 1000");
    host.start(&spec);
    let shim = parent(host.info(&spec).pid.unwrap());
    let executable = fs::read_link(format!("/proc/{shim}/exe")).unwrap();
    assert_eq!(executable.to_str().unwrap(), "/memfd:shoal-shim (deleted)");
    let write = fs::File::options().write(true).open(format!("/proc/{shim}/exe"));
    assert!(write.is_err(), "it cannot be opened for writing");
    let threads = fs::read_dir(format!("/proc/{shim}/task")).unwrap().count();
    assert_eq!(threads, 1);
}

fn the_shim_keeps_nothing_of_its_daemon() {
    let host = Host::new();
    let held = fs::File::create(host.root.join("held")).unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    let spec = host.spec("sleep 1000; ls -l /proc/self/fd");
    host.start(&spec);
    let shim = parent(host.info(&spec).pid.unwrap());
    for entry in fs::read_dir(format!("/proc/{shim}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        assert!(!target.ends_with("held"), "descriptors are not inherited");
    }
    assert_eq!(fs::read_link(format!("/proc/{shim}/cwd")).unwrap().to_str(), Some("/"));
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(shim.cast_signed()))).unwrap();
    assert_eq!(session.as_raw(), shim.cast_signed(), "it has a session of its own");
    let (text, ..) = finish(host.exec(&spec, "ls /proc/1/fd; ls /proc/self/fd"));
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "0", "1", "2", "3"]);
}

fn long_paths_are_no_trouble() {
    let host = Host::new();
    let deep = host.root.join("a".repeat(100)).join("b".repeat(100));
    fs::create_dir_all(&deep).unwrap();
    let further = Host::open(&deep, &format!("{}/deep", host.cgroup_parent));
    let spec = ContainerSpec { terminal: true, ..host.spec("sleep 1000") };
    further.start(&spec);
    let process = further
        .runtime
        .exec(&spec.id, &shoal_runtime::ExecSpec { terminal: true, ..crate::fixture::exec_spec("echo hi") });
    assert_eq!(finish(process.unwrap()).0, "hi\r\n");
    further.runtime.signal(&spec.id, libc::SIGKILL).unwrap();
    further.wait(&spec);
    further.runtime.remove(&spec.id).unwrap();
    further.runtime.remove_cgroup_parent().unwrap();
}
