//! Schedulers chosen by label: by the connections of the whole cluster, by the client, by weight.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{CLIENT, HOSTS, Lab, MANAGER, WORKER2, address, eventually};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

/// Connections that are held in the first part.
const HELD: usize = 20;

#[test]
fn a_service_is_balanced_as_its_labels_say() {
    let lab = Lab::swarm();
    lab.docker(
        MANAGER,
        &[
            "service",
            "create",
            "--name",
            "web",
            "-p",
            "8000:8000",
            "--label",
            "shoal.lb.scheduler=lc",
            "whoami",
        ],
    )
    .ok();
    eventually("the service answers", || HOSTS.iter().all(|host| who(&lab, host).is_some()));
    the_one_with_the_fewest_connections(&lab);
    the_same_for_a_client(&lab);
    as_weights_say(&lab);
    labels_that_cannot_be_followed(&lab);
}

/// Who answers one request to a host.
fn who(lab: &Lab, host: &str) -> Option<String> {
    let said = lab.curl(CLIENT, &format!("http://{}:8000/", address(host)));
    (said.code == 0).then(|| said.out.trim().to_owned())
}

fn label(lab: &Lab, kind: &str, label: &str) -> shoal_e2e::Said {
    lab.docker(MANAGER, &["service", "update", "--detach", kind, label, "web"])
}

/// Connections through one host, until the program's input is closed.
fn hold(lab: &Lab, host: &str) -> Child {
    let script = format!(
        "for i in $(seq {HELD}); do
             exec {{fd}}<>/dev/tcp/{}/8000 || exit 1
             printf 'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n' >&$fd
         done
         echo held; read -r end",
        address(host)
    );
    let mut command = lab.exec_command(CLIENT, &["bash", "-c", &script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "held");
    child
}

/// What one host knows of its own connections is what all hosts go by.
fn the_one_with_the_fewest_connections(lab: &Lab) {
    let first = who(lab, WORKER2).unwrap();
    let mut held = hold(lab, MANAGER);
    lab.docker(MANAGER, &["service", "scale", "--detach", "web=2"]).ok();
    lab.converged("web", 2);
    eventually("new connections through another host go to the new task", || {
        let answers: Vec<_> = (0..12).filter_map(|_| who(lab, WORKER2)).collect();
        answers.len() == 12 && answers.iter().filter(|answer| **answer != first).count() >= 10
    });
    drop(held.stdin.take());
    held.wait().unwrap();
    eventually("both are alike again", || {
        let answers: Vec<_> = (0..12).filter_map(|_| who(lab, WORKER2)).collect();
        (4..=8).contains(&answers.iter().filter(|answer| **answer == first).count())
    });
}

fn the_same_for_a_client(lab: &Lab) {
    label(lab, "--label-add", "shoal.lb.scheduler=maglev").ok();
    lab.docker(MANAGER, &["service", "scale", "--detach", "web=5"]).ok();
    lab.converged("web", 5);
    eventually("the client meets the same task whichever host it asks", || {
        let answers = || HOSTS.iter().flat_map(|host| [who(lab, host), who(lab, host)]);
        answers().all(|answer| answer.is_some()) && answers().collect::<BTreeSet<_>>().len() == 1
    });
}

fn as_weights_say(lab: &Lab) {
    lab.docker(MANAGER, &["node", "update", "--label-add", "share=16", WORKER2]).ok();
    label(lab, "--label-rm", "shoal.lb.scheduler").ok();
    label(lab, "--label-add", "shoal.lb.weight=node.labels.share").ok();
    let heavy: BTreeSet<String> =
        lab.containers_of("web").into_iter().filter(|(_, host)| *host == WORKER2).map(|(id, _)| id).collect();
    assert!(!heavy.is_empty() && heavy.len() < 5, "five tasks are spread over three hosts");
    eventually("the host with the greater weight gets most", || {
        let answers: Vec<_> = (0..20).filter_map(|_| who(lab, MANAGER)).collect();
        let of_heavy = answers.iter().filter(|answer| heavy.iter().any(|id| answer.contains(id.as_str())));
        answers.len() == 20 && of_heavy.count() >= 15
    });
}

fn labels_that_cannot_be_followed(lab: &Lab) {
    let said = label(lab, "--label-add", "shoal.lb.scheduler=fastest").refused();
    assert!(said.contains(r#"label shoal.lb.scheduler: "fastest" is not a scheduler"#), "{said}");
    let said = label(lab, "--container-label-add", "shoal.lb.weight=0").refused();
    assert!(said.contains(r#"container label shoal.lb.weight: "0" is not a weight"#), "{said}");
    let shown = lab.docker(MANAGER, &["service", "inspect", "--format", "{{json .Spec.Labels}}", "web"]).ok();
    assert_eq!(shown.trim(), r#"{"shoal.lb.weight":"node.labels.share"}"#);
}
