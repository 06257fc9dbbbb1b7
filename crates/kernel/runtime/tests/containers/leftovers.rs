//! What is left when containers are gone: nothing.

use crate::fixture::{Host, eventually};
use shoal_runtime::{ContainerSpec, FileMount};
use std::fs;
use std::path::Path;

crate::tests![
    nothing_is_left_after_removal,
    nothing_is_left_after_a_failure,
    an_unfinished_directory_is_cleared
];

/// Everything in the system that names a text.
fn traces(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(name)).map(|l| format!("mount {l}")));
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    found.extend(sockets.lines().filter(|l| l.contains(name)).map(|l| format!("socket {l}")));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let path = hierarchy.path().join(name);
        if path.exists() {
            found.push(format!("cgroup {}", path.display()));
        }
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&words).contains(&format!("{name}/containers")) {
            found.push(format!("process {}", process.path().display()));
        }
    }
    found
}

fn name_of(host: &Host) -> String {
    host.root.file_name().unwrap().to_str().unwrap().to_owned()
}

fn nothing_is_left_after_removal() {
    let host = Host::new();
    let file = FileMount { target: "/x".into(), ..FileMount::default() };
    let spec = ContainerSpec { files: vec![file], terminal: true, ..host.spec("sleep 1000 & sleep 1000") };
    host.start(&spec);
    crate::fixture::finish(host.exec(&spec, "true"));
    assert!(traces(&name_of(&host)).len() > 4);
    host.runtime.signal(&spec.id, libc::SIGKILL).unwrap();
    host.wait(&spec);
    host.runtime.remove(&spec.id).unwrap();
    host.runtime.remove_cgroup_parent().unwrap();
    eventually("nothing is left", || traces(&name_of(&host)).is_empty());
    assert_eq!(fs::read_dir(host.root.join("containers")).unwrap().count(), 0);
    assert!(spec.log_path.exists(), "the log is its owner's");
}

fn nothing_is_left_after_a_failure() {
    let host = Host::new();
    let file = FileMount { target: "/x".into(), ..FileMount::default() };
    let spec = ContainerSpec { files: vec![file], args: vec!["nosuch".into()], ..host.spec("") };
    host.runtime.create(&spec).unwrap_err();
    host.runtime.remove_cgroup_parent().unwrap();
    eventually("nothing is left", || traces(&name_of(&host)).is_empty());
    assert_eq!(fs::read_dir(host.root.join("containers")).unwrap().count(), 0);
}

fn an_unfinished_directory_is_cleared() {
    let host = Host::new();
    let unfinished = host.root.join("containers/.new-x");
    let finished = host.root.join("containers/.old-x");
    fs::create_dir(&unfinished).unwrap();
    fs::create_dir(&finished).unwrap();
    assert_eq!(host.runtime.list().unwrap(), []);
    let _next = Host::open(&host.root, &host.cgroup_parent);
    assert!(!Path::new(&unfinished).exists());
    assert!(!Path::new(&finished).exists());
}
