//! Somebody changes what the kernel holds behind the daemon's back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{CLIENT, HOSTS, Lab, MANAGER, WORKER1, address, eventually, said};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The kernel is compared every 3 s; the rest is for a busy machine.
const REPAIRED_WITHIN: Duration = Duration::from_secs(15);

/// What the daemon of the host has said of foreign hands so far.
fn warnings(lab: &Lab) -> Vec<String> {
    let log = std::fs::read_to_string(lab.host(WORKER1).join("daemon.log")).unwrap();
    let told = log.lines().filter(|line| line.contains("a foreign hand changed the kernel"));
    told.map(|line| line.split_once("found=").unwrap().1.to_owned()).collect()
}

/// A namespace of the host, by the beginning of its name.
fn namespace(lab: &Lab, name: &str) -> PathBuf {
    let directory = lab.host(WORKER1).join("exec/netns");
    let mut files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name)).unwrap()
}

fn within(namespace: &Path, command: &[&str]) -> String {
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net={}", namespace.display())).args(command);
    said(&mut inside).ok()
}

/// Lets a foreign hand act, and waits until that was logged in these words, is repaired, and requests through the host
/// work.
fn repaired(lab: &Lab, logged: &str, act: impl FnOnce()) {
    let before = warnings(lab).len();
    let begun = Instant::now();
    act();
    eventually(&format!("{logged:?} in the log"), || {
        warnings(lab).iter().skip(before).any(|found| found.starts_with(logged))
    });
    let took = begun.elapsed();
    assert!(took < REPAIRED_WITHIN, "{logged}: repaired after {took:?}");
    eventually(&format!("{logged}: all as declared again"), || lab.verify(MANAGER).code == 0);
    let url = format!("http://{}:8000/", address(WORKER1));
    assert_eq!(lab.answers(CLIENT, &url, 9).len(), 3, "{logged}: every task answers");
}

#[test]
fn what_foreign_hands_change_is_repaired_and_logged() {
    let lab = Lab::swarm();
    let create = ["service", "create", "--detach", "--name", "whoami", "-p", "8000:8000", "--replicas", "3"];
    lab.docker(MANAGER, &[&create[..], &["whoami"]].concat()).ok();
    lab.converged("whoami", 3);
    eventually("all is as declared", || lab.verify(MANAGER).code == 0);
    assert_eq!(warnings(&lab), Vec::<String>::new(), "the node's own work is no foreign hand's");

    let overlay = namespace(&lab, "1-");
    repaired(&lab, "forwarding entry 02:42:", || {
        let entries = within(&overlay, &["bridge", "fdb", "show", "dev", "vxlan0"]);
        for entry in entries.lines().filter(|line| line.contains(" dst ")) {
            let words: Vec<&str> = entry.split_whitespace().collect();
            within(&overlay, &["bridge", "fdb", "del", words[0], "dev", "vxlan0", "dst", words[2]]);
        }
        let said = lab.verify(MANAGER);
        assert_eq!(said.code, 1, "{}{}", said.out, said.err);
        assert!(said.out.contains("forwarding entry 02:42:"), "{}", said.out);
    });
    repaired(&lab, "packet filter in host is missing", || {
        lab.exec(WORKER1, &["nft", "flush", "ruleset"]).ok();
    });
    repaired(&lab, "program entry_in on eth0 in host is missing", || {
        let attached = lab.host(WORKER1).join("exec/bpf").read_dir().unwrap();
        let links = attached.map(|version| version.unwrap().path().join("attached"));
        let link = links.map(|l| l.join("link@entry_in@@eth0")).find(|link| link.exists()).unwrap();
        std::fs::remove_file(link).unwrap();
    });
    let (container, _) = lab.containers_of("whoami").into_iter().find(|(_, host)| *host == WORKER1).unwrap();
    let sandbox = namespace(&lab, &container);
    repaired(&lab, "route default via ", || {
        within(&sandbox, &["ip", "route", "del", "default"]);
    });
    repaired(&lab, "link eth0 in ", || {
        within(&sandbox, &["ip", "link", "del", "eth0"]);
    });
    let counted =
        lab.exec(WORKER1, &["curl", "-sS", "--max-time", "5", "http://127.0.0.1:9323/metrics"]).ok();
    for kind in ["forwarding", "firewall", "program", "route", "link"] {
        let metric = format!("shoal_node_foreign_changes_total{{kind=\"{kind}\"}} ");
        let count = counted.lines().find_map(|line| line.strip_prefix(&metric)).unwrap();
        assert_ne!(count, "0", "{kind} is counted: {counted}");
    }
    assert!(counted.contains("\nshoal_node_converged 1\n"), "{counted}");
    assert!(counted.contains("\nshoal_node_tasks{state=\"running\"} 1\n"), "{counted}");
    for host in HOSTS.into_iter().filter(|host| *host != WORKER1) {
        let log = std::fs::read_to_string(lab.host(host).join("daemon.log")).unwrap();
        assert!(!log.contains("a foreign hand"), "{host} was left alone");
    }
}

#[test]
fn a_node_that_does_not_answer_is_named() {
    let lab = Lab::swarm();
    // A swarm that has only just come up is still laying its networks.
    eventually("the worker holds what it was told", || lab.verify(WORKER1).code == 0);
    let own = lab.verify(WORKER1);
    assert!(
        own.out.contains(WORKER1) && !own.out.contains(MANAGER),
        "a worker speaks for itself: {}",
        own.out
    );
    lab.lab(&["stop", WORKER1]).ok();
    eventually("the silent node is named", || {
        let said = lab.verify(MANAGER);
        said.code == 2 && said.err.contains(&format!("node {WORKER1} does not answer"))
    });
    lab.lab(&["start", WORKER1]).ok();
    eventually("all answer again", || lab.verify(MANAGER).code == 0);
}
