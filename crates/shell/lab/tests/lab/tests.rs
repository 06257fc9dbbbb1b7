//! What the lab promises.

use crate::lab::{Lab, text};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("every_host_has_its_name_address_and_socket", every_host_has_its_name_address_and_socket),
    ("the_lan_has_no_way_out_and_says_so", the_lan_has_no_way_out_and_says_so),
    ("every_host_gets_the_images", every_host_gets_the_images),
    ("a_power_cut_ends_everything_but_the_disk", a_power_cut_ends_everything_but_the_disk),
    ("a_stopped_daemon_leaves_its_containers", a_stopped_daemon_leaves_its_containers),
    ("parted_hosts_do_not_reach_each_other_until_healed", parted_hosts_do_not_reach_each_other_until_healed),
    ("down_leaves_nothing", down_leaves_nothing),
    ("down_needs_no_record", down_needs_no_record),
    ("two_labs_do_not_meet", two_labs_do_not_meet),
    ("a_daemon_that_fails_is_quoted", a_daemon_that_fails_is_quoted),
    ("what_is_missing_is_said_before_anything_is_made", what_is_missing_is_said_before_anything_is_made),
    ("a_lab_that_is_not_there_is_said_to_be_so", a_lab_that_is_not_there_is_said_to_be_so),
];

fn every_host_has_its_name_address_and_socket() {
    let lab = Lab::up(3);
    let status = lab.run(&["status"]);
    for (host, address, role) in [
        ("swarm-manager", "192.168.50.11", "manager"),
        ("swarm-worker1", "192.168.50.12", "worker"),
        ("swarm-worker2", "192.168.50.13", "worker"),
        ("client", "192.168.50.100", "client"),
    ] {
        assert_eq!(lab.on(host, "hostname"), (true, format!("{host}\n")));
        let (_, addresses) = lab.on(host, "ip -4 -o address show eth0");
        assert!(addresses.contains(&format!("inet {address}/24")), "{addresses}");
        let line = status.lines().find(|line| line.starts_with(host)).unwrap();
        assert!(line.contains(address) && line.contains(role), "{status}");
        let (ok, output) = lab.on(host, "ping -c1 -W2 192.168.50.11 && ping -c1 -W2 192.168.50.100");
        assert!(ok, "{output}");
    }
    let socket = lab.host("swarm-worker1").join("docker.sock");
    assert_eq!(
        lab.run(&["env", "swarm-worker1"]),
        format!("export DOCKER_HOST=unix://{}\n", socket.display())
    );
    let (_, host) = lab.on("swarm-worker1", "echo $DOCKER_HOST");
    assert_eq!(host.trim(), format!("unix://{}", socket.display()));
    let (ok, words) = lab.attempt(&["env", "client"]);
    assert!(!ok && words.contains("client runs no daemon"), "{words}");
    assert!(!lab.on("client", "exit 7").0);
}

fn the_lan_has_no_way_out_and_says_so() {
    let lab = Lab::up(1);
    let begin = Instant::now();
    let (ok, output) = lab.on("swarm-manager", "ping -c1 -W5 203.0.113.1");
    assert!(!ok && output.contains("Unreachable"), "{output}");
    assert!(begin.elapsed() < Duration::from_secs(3));
    let (_, links) = lab.on("swarm-manager", "ip -o link | cut -d: -f2 | cut -d@ -f1 | xargs");
    assert_eq!(links.trim(), "lo eth0");
}

fn every_host_gets_the_images() {
    let lab = Lab::up(2);
    for host in ["swarm-manager", "swarm-worker1"] {
        let images: Vec<_> = fs::read_dir(lab.host(host).join("data"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "tar"))
            .collect();
        assert_eq!(images.len(), 2, "{host}");
    }
}

fn pid_in(file: &Path) -> String {
    fs::read_to_string(file).unwrap().trim().to_owned()
}

/// Whether a process runs (one that has ended and waits to be asked for its status does not).
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn mounts_of(lab: &Lab) -> Vec<String> {
    let directory = format!("{}/", lab.directory().display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&directory)).map(str::to_owned).collect()
}

/// A command that runs on a host for a long time.
fn busy(lab: &Lab, host: &str) -> Child {
    let mut child = lab
        .command(&["exec", host, "--", "sh", "-c", "echo on; sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
    child
}

fn a_power_cut_ends_everything_but_the_disk() {
    let lab = Lab::up(2);
    let host = lab.host("swarm-worker1");
    let (daemon, container) = (pid_in(&host.join("daemon.pid")), pid_in(&host.join("data/container.pid")));
    let mut busy = busy(&lab, "swarm-worker1");
    assert!(runs(&daemon) && runs(&container));
    lab.run(&["kill", "swarm-worker1"]);
    assert!(!runs(&daemon) && !runs(&container));
    assert!(!busy.wait().unwrap().success(), "commands on the host end with it");
    assert!(!host.join("exec").exists() && !host.join("docker.sock").exists());
    assert!(!mounts_of(&lab).iter().any(|line| line.contains("swarm-worker1")), "{:?}", mounts_of(&lab));
    assert_eq!(fs::read_to_string(host.join("data/disk")).unwrap(), "kept");
    assert!(lab.run(&["status"]).contains("off"));
    let (ok, _) = lab.on("swarm-manager", "ping -c1 -W1 192.168.50.12");
    assert!(!ok, "it does not answer any more");
    let (ok, words) = lab.on("swarm-worker1", "true");
    assert!(!ok && words.contains("swarm-worker1 is switched off"), "{words}");
    // Again is fine, and so is booting twice.
    lab.run(&["kill", "swarm-worker1"]);
    lab.run(&["start", "swarm-worker1"]);
    lab.run(&["start", "swarm-worker1"]);
    assert!(!lab.run(&["status"]).contains("off"));
    let (ok, output) = lab.on("swarm-manager", "ping -c1 -W2 192.168.50.12");
    assert!(ok, "{output}");
}

fn a_stopped_daemon_leaves_its_containers() {
    let lab = Lab::up(1);
    let host = lab.host("swarm-manager");
    let (daemon, container) = (pid_in(&host.join("daemon.pid")), pid_in(&host.join("data/container.pid")));
    lab.run(&["stop", "swarm-manager"]);
    assert!(!runs(&daemon) && runs(&container));
    assert!(lab.run(&["status"]).contains("stopped"));
    lab.run(&["stop", "swarm-manager"]);
    lab.run(&["start", "swarm-manager"]);
    assert_ne!(pid_in(&host.join("daemon.pid")), daemon);
    assert!(runs(&container));
}

fn parted_hosts_do_not_reach_each_other_until_healed() {
    let lab = Lab::up(3);
    let reaches = |from: &str, last: u8| lab.on(from, &format!("ping -c1 -W1 192.168.50.{last}")).0;
    lab.run(&["cut", "swarm-manager", "swarm-worker1"]);
    assert!(!reaches("swarm-manager", 12) && !reaches("swarm-worker1", 11));
    assert!(reaches("swarm-manager", 13) && reaches("swarm-worker1", 13) && reaches("client", 12));
    assert!(lab.run(&["status"]).contains("cut: swarm-manager -/- swarm-worker1"));
    lab.run(&["kill", "swarm-worker1"]);
    lab.run(&["start", "swarm-worker1"]);
    assert!(!reaches("swarm-worker1", 11), "a reboot mends no cable");
    lab.run(&["cut", "client", "swarm-worker2"]);
    assert!(!reaches("client", 13));
    lab.run(&["heal"]);
    assert!(reaches("swarm-manager", 12) && reaches("swarm-worker1", 11) && reaches("client", 13));
    assert!(!lab.attempt(&["cut", "client", "client"]).0);
}

/// Everything that a lab leaves: directories, mounts, cgroups, processes.
fn leftovers(lab: &Lab) -> Vec<String> {
    let find = "find /sys/fs/cgroup -type d -path '*shoal-lab*' 2>/dev/null";
    let (_, cgroups) = text(&Command::new("sh").args(["-c", find]).output().unwrap());
    let mut left: Vec<String> =
        cgroups.lines().filter(|l| l.contains(&lab.name)).map(str::to_owned).collect();
    left.extend(mounts_of(lab));
    let files = fs::read_dir("/run/shoal-lab").into_iter().flatten().flatten();
    left.extend(files.map(|f| f.path().display().to_string()).filter(|path| path.contains(&lab.name)));
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&format!("/{}/", lab.name)) {
            left.push(command);
        }
    }
    left
}

fn down_leaves_nothing() {
    let lab = Lab::up(2);
    let container = pid_in(&lab.host("swarm-worker1").join("data/container.pid"));
    let mut busy = busy(&lab, "client");
    lab.run(&["stop", "swarm-manager"]);
    lab.run(&["down"]);
    assert_eq!(leftovers(&lab), Vec::<String>::new());
    assert!(!runs(&container));
    assert!(!busy.wait().unwrap().success());
    lab.run(&["down"]);
    assert_eq!(leftovers(&lab), Vec::<String>::new());
}

fn down_needs_no_record() {
    let lab = Lab::up(1);
    fs::remove_file(lab.directory().join("lab.json")).unwrap();
    fs::remove_file(lab.host("swarm-manager").join("process.json")).unwrap();
    lab.run(&["down"]);
    assert_eq!(leftovers(&lab), Vec::<String>::new());
}

fn two_labs_do_not_meet() {
    let (one, two) = (Lab::up(1), Lab::up(1));
    let address = |lab: &Lab| lab.on("swarm-manager", "readlink /proc/self/ns/net").1;
    assert_ne!(address(&one), address(&two));
    one.run(&["down"]);
    let (ok, output) = two.on("client", "ping -c1 -W2 192.168.50.11");
    assert!(ok, "{output}");
    assert!(two.run(&["status"]).contains("running"));
}

fn a_daemon_that_fails_is_quoted() {
    let lab = Lab::new();
    let up = lab.command(&["up", "--nodes", "1", "--bare"]).env("FAKE_FAILS", "1").output().unwrap();
    let (ok, words) = text(&up);
    assert!(!ok);
    assert!(words.contains("the daemon of swarm-manager has ended"), "{words}");
    assert!(words.contains("the fake daemon fails as told"), "{words}");
    let (ok, words) = lab.attempt(&["up", "--nodes", "1", "--bare"]);
    assert!(!ok && words.contains("is there already"), "{words}");
}

fn what_is_missing_is_said_before_anything_is_made() {
    let lab = Lab::new();
    let (ok, words) = lab.attempt(&["up", "--whoami", "/nonexistent"]);
    assert!(!ok && words.contains("cannot read /nonexistent: build it with"), "{words}");
    let dynamic = std::env::current_exe().unwrap();
    let (ok, words) = lab.attempt(&["up", "--whoami", &dynamic.to_string_lossy()]);
    assert!(!ok && words.contains("is not a static program"), "{words}");
    assert_eq!(leftovers(&lab), Vec::<String>::new());
}

fn a_lab_that_is_not_there_is_said_to_be_so() {
    let lab = Lab::new();
    for command in [&["status"][..], &["env", "x"], &["kill", "x"], &["exec", "x", "--", "true"]] {
        let (ok, words) = lab.attempt(command);
        assert!(!ok && words.contains("there is no lab"), "{words}");
    }
    assert_eq!(leftovers(&lab), Vec::<String>::new());
}
