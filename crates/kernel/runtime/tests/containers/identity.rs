//! Users, capabilities, namespaces.

use crate::fixture::Host;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use shoal_runtime::{ContainerSpec, Error};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

crate::tests![
    users_are_taken_by_name_and_number,
    an_unknown_user_is_refused_in_dockers_words,
    capabilities_are_dockers,
    capabilities_are_added_and_dropped,
    privileges_cannot_be_gained_if_unwanted,
    a_privileged_container_has_everything,
    namespaces_are_new,
    a_network_namespace_is_joined,
    a_missing_network_namespace_is_refused,
    the_kernels_secrets_are_masked,
];

fn id(host: &Host, user: &str, groups: &[&str]) -> String {
    let groups = groups.iter().map(ToString::to_string).collect();
    let spec = ContainerSpec { user: user.into(), groups, ..host.spec("id -u; id -g; id -G; echo $HOME") };
    host.run_spec(&spec).text().replace('\n', " ")
}

fn users_are_taken_by_name_and_number() {
    let host = Host::new();
    assert_eq!(id(&host, "", &[]), "0 0 0 /root");
    assert_eq!(id(&host, "web", &[]), "1000 1001 1001 50 /srv");
    assert_eq!(id(&host, "1000", &[]), "1000 1001 1001 50 /srv");
    assert_eq!(id(&host, "web:staff", &[]), "1000 50 50 /srv");
    assert_eq!(id(&host, "1234:77", &["staff", "99"]), "1234 77 77 50 99 /");
}

fn an_unknown_user_is_refused_in_dockers_words() {
    let host = Host::new();
    let spec = ContainerSpec { user: "nosuch".into(), ..host.spec("true") };
    let error = host.runtime.create(&spec).unwrap_err();
    assert!(matches!(error, Error::InvalidSpec(_)), "{error:?}");
    assert_eq!(error.to_string(), "unable to find user nosuch: no matching entries in passwd file");
}

const STATUS: &str =
    "grep -E '^Cap(Eff|Bnd|Inh|Amb)|NoNewPrivs' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";

fn capabilities_are_dockers() {
    let host = Host::new();
    // What a container of Docker 28 shows.
    let text = host.run(STATUS).text().to_owned();
    assert_eq!(
        text,
        "CapInh:0000000000000000 CapEff:00000000a80425fb CapBnd:00000000a80425fb CapAmb:0000000000000000 NoNewPrivs:0"
    );
    let spec = ContainerSpec { user: "web".into(), ..host.spec(STATUS) };
    let text = host.run_spec(&spec).text().to_owned();
    assert_eq!(
        text,
        "CapInh:0000000000000000 CapEff:0000000000000000 CapBnd:00000000a80425fb CapAmb:0000000000000000 NoNewPrivs:0"
    );
}

fn capabilities_are_added_and_dropped() {
    let host = Host::new();
    let spec = ContainerSpec {
        capabilities_add: vec!["NET_ADMIN".into()],
        capabilities_drop: vec!["all".into()],
        ..host.spec(STATUS)
    };
    assert!(host.run_spec(&spec).text().contains("CapEff:0000000000001000 CapBnd:0000000000001000"));
    let spec = ContainerSpec { capabilities_add: vec!["FLY".into()], ..host.spec("true") };
    let error = host.runtime.create(&spec).unwrap_err();
    assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"CAP_FLY\"");
}

fn privileges_cannot_be_gained_if_unwanted() {
    let host = Host::new();
    let spec = ContainerSpec { no_new_privileges: true, ..host.spec(STATUS) };
    assert!(host.run_spec(&spec).text().ends_with("NoNewPrivs:1"));
}

fn a_privileged_container_has_everything() {
    let host = Host::new();
    let script = "mkdir /m && mount -t tmpfs x /m && echo mounted; echo y > /proc/sys/kernel/hostname; hostname; test -c /dev/kmsg && echo kmsg";
    let spec = ContainerSpec { privileged: true, ..host.spec(script) };
    assert_eq!(host.run_spec(&spec).text(), "mounted\ny\nkmsg");
    assert_eq!(host.run("mkdir /m; mount -t tmpfs x /m || echo refused").text(), "refused");
}

fn namespace(process: &str, kind: &str) -> u64 {
    fs::metadata(format!("/proc/{process}/ns/{kind}")).unwrap().ino()
}

fn namespaces_are_new() {
    let host = Host::new();
    let spec = host.spec("sleep 1000");
    host.start(&spec);
    let pid = host.info(&spec).pid.unwrap().to_string();
    for kind in ["pid", "mnt", "ipc", "uts", "cgroup"] {
        assert_ne!(namespace(&pid, kind), namespace("self", kind), "{kind}");
    }
    assert_eq!(namespace(&pid, "net"), namespace("self", "net"), "none was asked for");
}

/// A network namespace bound to a file.
struct Netns(PathBuf);

impl Netns {
    fn new(path: PathBuf) -> Self {
        File::create(&path).unwrap();
        let target = path.clone();
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let none: Option<&str> = None;
            mount(Some("/proc/thread-self/ns/net"), &target, none, MsFlags::MS_BIND, none).unwrap();
        });
        made.join().unwrap();
        Self(path)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn a_network_namespace_is_joined() {
    let host = Host::new();
    let netns = Netns::new(host.root.join("netns"));
    let spec = ContainerSpec {
        network_namespace: Some(netns.0.clone()),
        ..host.spec("ls /sys/class/net; sleep 1000")
    };
    host.start(&spec);
    let pid = host.info(&spec).pid.unwrap().to_string();
    assert_eq!(namespace(&pid, "net"), fs::metadata(&netns.0).unwrap().ino());
    let (text, ..) = crate::fixture::finish(host.exec(&spec, "ls /sys/class/net; wc -l < /proc/net/dev"));
    assert_eq!(text, "lo\n3\n");
}

fn a_missing_network_namespace_is_refused() {
    let host = Host::new();
    let spec = ContainerSpec { network_namespace: Some("/no/such".into()), ..host.spec("true") };
    assert_eq!(host.runtime.create(&spec).unwrap_err().to_string(), "no network namespace at /no/such");
}

fn the_kernels_secrets_are_masked() {
    let host = Host::new();
    let script = "wc -c < /proc/timer_list; echo x > /proc/sys/kernel/hostname; ls /sys/firmware | wc -l; touch /sys/x";
    let ended = host.run(script);
    assert_eq!(ended.output, "0\n0\n");
    assert_eq!(ended.errors.matches("Read-only file system").count(), 2, "{ended:?}");
    assert!(Path::new("/proc/sys/kernel/hostname").exists());
}
