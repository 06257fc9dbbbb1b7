//! Nobody's request is lost while the swarm changes, and what dies is avoided within a second.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{HOSTS, Lab, MANAGER, WORKER1, WORKER2, eventually};
use std::time::{SystemTime, UNIX_EPOCH};

fn create(lab: &Lab, replicas: &str, more: &[&str]) {
    let mut arguments =
        vec!["service", "create", "--detach", "--name", "web", "-p", "8000:8000", "--replicas", replicas];
    arguments.extend(["--restart-delay", "500ms", "--stop-grace-period", "8s"]);
    arguments.extend(more);
    arguments.push("whoami");
    lab.docker(MANAGER, &arguments).ok();
    lab.converged("web", replicas.parse().unwrap());
}

/// Waits until as many containers of the service run as should, and none besides.
fn only(lab: &Lab, containers: usize) {
    lab.converged("web", containers);
    eventually(&format!("{containers} containers and no more"), || {
        lab.containers_of("web").len() == containers
    });
}

fn update_is(lab: &Lab, state: &str) {
    eventually(&format!("the update is {state}"), || {
        let format = "{{.UpdateStatus.State}}";
        lab.docker(MANAGER, &["service", "inspect", "web", "--format", format]).out.trim() == state
    });
}

/// Every request that is asked while `change` goes on is answered.
fn without_loss(lab: &Lab, what: &str, change: impl FnOnce()) {
    // Some thousand requests a second: the machine still has time for the change itself.
    let load = lab.load_on(&HOSTS, 8000, &["--pause", "5"]);
    change();
    let outcome = load.stop();
    println!("{what}: {outcome:?}");
    outcome.nothing_lost(100);
}

#[test]
fn scaling_loses_nothing() {
    let lab = Lab::swarm();
    create(&lab, "6", &[]);
    for replicas in [2, 6] {
        without_loss(&lab, &format!("scale to {replicas}"), || {
            lab.docker(MANAGER, &["service", "scale", "--detach", &format!("web={replicas}")]).ok();
            only(&lab, replicas);
        });
    }
}

#[test]
fn rolling_updates_and_a_rollback_lose_nothing() {
    let lab = Lab::swarm();
    create(&lab, "3", &["--update-monitor", "1s", "--rollback-monitor", "1s"]);
    for order in ["start-first", "stop-first"] {
        without_loss(&lab, &format!("an update, {order}"), || {
            let env = format!("ORDER={order}");
            lab.docker(
                MANAGER,
                &["service", "update", "--detach", "--update-order", order, "--env-add", &env, "web"],
            )
            .ok();
            update_is(&lab, "completed");
            only(&lab, 3);
        });
    }
    without_loss(&lab, "a rollback", || {
        lab.docker(MANAGER, &["service", "rollback", "--detach", "web"]).ok();
        update_is(&lab, "rollback_completed");
        only(&lab, 3);
    });
}

#[test]
fn draining_a_node_loses_nothing() {
    let lab = Lab::swarm();
    create(&lab, "4", &[]);
    let on_worker1 = || lab.containers_of("web").iter().filter(|(_, host)| *host == WORKER1).count();
    assert!(on_worker1() > 0);
    without_loss(&lab, "a node is drained and comes back", || {
        lab.docker(MANAGER, &["node", "update", "--availability", "drain", WORKER1]).ok();
        eventually("the node is empty", || on_worker1() == 0);
        only(&lab, 4);
        lab.docker(MANAGER, &["node", "update", "--availability", "active", WORKER1]).ok();
        lab.docker(MANAGER, &["service", "scale", "--detach", "web=6"]).ok();
        only(&lab, 6);
    });
    assert!(on_worker1() > 0);
}

#[test]
fn daemons_that_are_killed_and_started_again_lose_nothing() {
    let lab = Lab::swarm();
    create(&lab, "4", &[]);
    let containers = lab.containers_of("web");
    let everyone_is_ready = || {
        let nodes = lab.docker(MANAGER, &["node", "ls", "--format", "{{.Status}}"]).out;
        nodes.lines().filter(|status| status.trim() == "Ready").count() == HOSTS.len()
    };
    without_loss(&lab, "every daemon is killed and started again", || {
        for host in HOSTS {
            lab.kill_daemon(host);
            lab.lab(&["start", host]).ok();
            eventually(&format!("all nodes are ready after {host}"), everyone_is_ready);
        }
    });
    assert_eq!(lab.containers_of("web"), containers, "the same containers run");
}

/// Milliseconds since 1970.
fn clock_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn a_node_without_power_is_avoided_within_a_second() {
    // A busy machine may notice somewhat later; the load's clients may have to wait for a processor, too.
    const SLACK_MS: u64 = 500;
    let lab = Lab::swarm();
    create(&lab, "3", &[]);
    // Who gets no answer within a second fails. All ask through one host: a client's port that is used again through
    // another while the task still remembers the first may cost a second by itself.
    let options = ["--per-connection", "1", "--connections", "64", "--pause", "500", "--patience", "1000"];
    let load = lab.load_on(&[WORKER1], 8000, &options);
    let before = clock_ms();
    lab.lab(&["kill", WORKER2]).ok();
    let after = clock_ms();
    eventually("worker2 is down", || {
        lab.docker(MANAGER, &["node", "ls"]).out.lines().any(|l| l.contains(WORKER2) && l.contains("Down"))
    });
    eventually("three tasks run on the other hosts", || {
        lab.containers_of("web").iter().filter(|(_, host)| *host != WORKER2).count() == 3
    });
    let outcome = load.stop();
    // With power again, it is compared with what was declared like the others.
    lab.lab(&["start", WORKER2]).ok();
    let failed = outcome.failed_at_ms();
    let last = failed.iter().max().map_or(0, |at| at.saturating_sub(before));
    println!(
        "the cut took {} ms; the last request that failed began {last} ms after: {outcome:?}",
        after - before
    );
    assert!(!failed.is_empty() || outcome.failed() == 0);
    let late = failed.iter().filter(|at| **at > after + 1000 + SLACK_MS).count();
    assert_eq!(late, 0, "requests failed that began later than a second after the cut: {failed:?}");
}
