//! What goes wrong, and what the swarm makes of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{CLIENT, HOSTS, Lab, MANAGER, WORKER1, WORKER2, address, eventually};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn service(lab: &Lab, replicas: &str) {
    lab.docker(
        MANAGER,
        &[
            "service",
            "create",
            "--detach",
            "--name",
            "whoami",
            "-p",
            "8000:8000",
            "--replicas",
            replicas,
            "--restart-delay",
            "500ms",
            "whoami",
        ],
    )
    .ok();
    lab.converged("whoami", replicas.parse().unwrap());
}

fn ids(lab: &Lab) -> BTreeSet<String> {
    lab.containers_of("whoami").into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_killed_container_is_replaced_and_a_dead_hosts_tasks_move() {
    let lab = Lab::swarm();
    service(&lab, "3");
    let before = ids(&lab);
    let (victim, host) = lab.containers_of("whoami").remove(0);
    lab.docker(host, &["kill", &victim]).ok();
    eventually("a replacement", || {
        let now = ids(&lab);
        now.len() == 3 && !now.contains(&victim)
    });
    assert_eq!(ids(&lab).intersection(&before).count(), 2, "the others were left alone");
    let (victim, host) = lab.containers_of("whoami").remove(0);
    lab.docker(host, &["rm", "-f", &victim]).ok();
    eventually("a replacement of the removed one", || ids(&lab).len() == 3 && !ids(&lab).contains(&victim));

    lab.lab(&["kill", WORKER2]).ok();
    eventually("worker2 is down", || {
        lab.docker(MANAGER, &["node", "ls"]).out.lines().any(|l| l.contains(WORKER2) && l.contains("Down"))
    });
    eventually("three tasks on the others", || {
        lab.containers_of("whoami").into_iter().filter(|(_, host)| *host != WORKER2).count() == 3
    });
    let url = format!("http://{}:8000/", address(WORKER1));
    eventually("all answers come", || (0..6).all(|_| lab.curl(CLIENT, &url).code == 0));

    lab.lab(&["start", WORKER2]).ok();
    eventually("worker2 is back", || {
        lab.docker(MANAGER, &["node", "ls"]).out.lines().any(|l| l.contains(WORKER2) && l.contains("Ready"))
    });
    let url = format!("http://{}:8000/", address(WORKER2));
    eventually("worker2 answers again", || lab.curl(CLIENT, &url).code == 0);
}

#[test]
fn a_restarted_daemon_takes_over_its_containers_while_traffic_goes_on() {
    let lab = Lab::swarm();
    service(&lab, "3");
    let before = ids(&lab);
    let urls: Vec<String> = HOSTS.iter().map(|h| format!("http://{}:8000/", address(h))).collect();
    for host in [WORKER1, MANAGER] {
        lab.lab(&["stop", host]).ok();
        for url in &urls {
            // Every request is answered; a node that is not heard of may get none for a while.
            assert!(lab.answers(CLIENT, url, 6).len() >= 2, "{url} while the daemon of {host} is down");
        }
        lab.lab(&["start", host]).ok();
    }
    eventually("all hosts are ready", || {
        lab.docker(MANAGER, &["node", "ls"]).out.matches("Ready").count() == 3
    });
    lab.converged("whoami", 3);
    assert_eq!(ids(&lab), before, "no container was replaced");
    lab.docker(MANAGER, &["service", "scale", "--detach", "whoami=4"]).ok();
    lab.converged("whoami", 4);
}

#[test]
fn down_leaves_nothing() {
    let lab = Lab::swarm();
    service(&lab, "2");
    let directory = lab.directory();
    let name = lab.name().to_owned();
    drop(lab);
    assert!(!directory.exists(), "{} is still there", directory.display());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&format!("/run/shoal-lab/{name}")), "mounts are left:\n{mounts}");
    let processes = Command::new("pgrep").args(["-af", &format!("shoal-lab/{name}")]).output().unwrap();
    assert!(
        processes.stdout.is_empty(),
        "processes are left: {}",
        String::from_utf8_lossy(&processes.stdout)
    );
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let group = hierarchy.unwrap().path().join("shoal-lab").join(&name);
        assert!(!Path::new(&group).exists(), "{} is left", group.display());
    }
}

#[test]
fn health_decides_who_serves_and_ended_containers_are_remembered() {
    let lab = Lab::swarm();
    let probe = [
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "500ms",
        "--health-retries",
        "2",
        "--health-start-period",
        "20s",
        "--health-start-interval",
        "300ms",
    ];
    let mut create = vec![
        "service",
        "create",
        "--detach",
        "--name",
        "probed",
        "--restart-delay",
        "500ms",
        "--stop-grace-period",
        "1s",
    ];
    create.extend(probe);
    create.extend([
        "busybox",
        "sh",
        "-c",
        "echo begun; sleep 2; touch /tmp/well; while true; do sleep 1; done",
    ]);
    lab.docker(MANAGER, &create).ok();
    lab.converged("probed", 1);
    let (container, host) = lab.containers_of("probed").remove(0);
    let status = lab.docker(host, &["inspect", &container, "--format", "{{.State.Health.Status}}"]).ok();
    assert_eq!(status.trim(), "healthy");
    lab.docker(host, &["exec", "-d", &container, "rm", "/tmp/well"]).ok();
    eventually("an unhealthy task is replaced", || {
        lab.containers_of("probed").iter().any(|(id, _)| *id != container)
    });
    eventually("the ended container is shown", || {
        lab.docker(host, &["ps", "-a", "--format", "{{.ID}} {{.Status}}"])
            .out
            .lines()
            .any(|l| l.starts_with(&container) && l.contains("Exited"))
    });
    assert_eq!(lab.docker(host, &["logs", &container]).ok().trim(), "begun");
    let stopped = lab.containers_of("probed").remove(0);
    lab.docker(stopped.1, &["stop", "-t", "1", &stopped.0]).ok();
    eventually("a stopped container is replaced", || {
        lab.containers_of("probed").iter().any(|(id, _)| *id != stopped.0)
    });
    lab.docker(MANAGER, &["service", "rm", "probed"]).ok();
    eventually("everything of the service is gone", || {
        HOSTS.iter().all(|host| lab.docker(host, &["ps", "-aq"]).out.trim().is_empty())
    });
}
