//! Bad input: each gives a clear error and changes nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{Lab, MANAGER, WORKER1, eventually};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn create(lab: &Lab, more: &[&str]) -> shoal_e2e::Said {
    let mut all = vec!["service", "create", "--detach"];
    all.extend_from_slice(more);
    lab.docker(MANAGER, &all)
}

fn raw(lab: &Lab, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(lab.host(MANAGER).join("docker.sock")).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    // The server may answer and close before all is sent.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bad_requests_are_refused_in_dockers_words() {
    let lab = Lab::swarm();
    create(&lab, &["--name", "web", "-p", "8000:8000", "whoami"]).ok();
    let before = lab.docker(MANAGER, &["service", "ls", "-q"]).ok();
    let taken = create(&lab, &["--name", "other", "-p", "8000:8000", "whoami"]).refused();
    assert!(taken.contains("port '8000' is already in use by service 'web'"), "{taken}");
    let twice = create(&lab, &["--name", "web", "whoami"]).refused();
    assert!(twice.contains("name conflicts with an existing object: service web already exists"), "{twice}");
    let name = create(&lab, &["--name", "bad_name!", "whoami"]).refused();
    assert!(name.contains("name must be valid as a DNS name component"), "{name}");
    let network = create(&lab, &["--name", "other", "--network", "nosuch", "whoami"]).refused();
    assert!(network.contains("network nosuch not found"), "{network}");
    let constraint = create(&lab, &["--name", "other", "--constraint", "bogus", "whoami"]).refused();
    assert!(constraint.contains("constraint expected one operator"), "{constraint}");
    assert_eq!(lab.docker(MANAGER, &["service", "ls", "-q"]).ok(), before, "nothing was created");

    let overlap = lab
        .docker(MANAGER, &["network", "create", "-d", "overlay", "--subnet", "192.168.50.0/24", "clash"])
        .refused();
    assert!(overlap.contains("192.168.50.0/24"), "{overlap}");
    let in_use = lab.docker(MANAGER, &["swarm", "leave"]).refused();
    assert!(in_use.contains("Removing the last manager erases all current state of the swarm"), "{in_use}");
    let node = lab.docker(MANAGER, &["node", "rm", "swarm-worker1"]).refused();
    assert!(node.contains("is not down and can't be removed"), "{node}");
    malformed_bodies(&lab);
    an_unknown_image_is_told_in_the_task(&lab);
}

fn malformed_bodies(lab: &Lab) {
    let post = |body: &str| {
        let head = "POST /v1.50/services/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
        raw(lab, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
    };
    let malformed = post("{\"Name\": ");
    assert!(malformed.starts_with("HTTP/1.1 400") && malformed.contains("\"message\""), "{malformed}");
    let oversized = post(&format!("{{\"Name\":\"{}\"}}", "x".repeat(32 * 1024 * 1024)));
    assert!(
        oversized.is_empty() || oversized.starts_with("HTTP/1.1 4"),
        "{}",
        &oversized[..200.min(oversized.len())]
    );
    let unknown = raw(lab, b"GET /v1.50/nosuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("page not found"), "{unknown}");
    let unbuilt = raw(
        lab,
        b"POST /v1.50/containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert!(unbuilt.starts_with("HTTP/1.1 501"), "{unbuilt}");
}

fn an_unknown_image_is_told_in_the_task(lab: &Lab) {
    create(lab, &["--name", "ghost", "--no-resolve-image", "localhost:1/nosuch:1"]).ok();
    eventually("the reason is shown", || {
        let shown = lab
            .docker(
                MANAGER,
                &["service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", "ghost"],
            )
            .out;
        shown.contains("Rejected") && shown.contains("No such image: localhost:1/nosuch:1")
    });
}

/// A daemon that must refuse to start; `before` runs it, such as with fewer capabilities.
fn refused_daemon(lab: &Lab, before: &[&str], roots: &std::path::Path) -> String {
    let shoal = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("shoal");
    let socket = format!("unix://{}", roots.join("second.sock").display());
    let (data, exec) = (roots.join("data"), roots.join("exec"));
    let pidfile = roots.join("second.pid");
    let mut command = before.to_vec();
    command.extend([shoal.to_str().unwrap(), "daemon", "--host", &socket]);
    command.extend(["--data-root", data.to_str().unwrap(), "--exec-root", exec.to_str().unwrap()]);
    command.extend(["--pidfile", pidfile.to_str().unwrap()]);
    lab.exec(MANAGER, &command).refused()
}

#[test]
fn a_daemon_that_cannot_work_says_what_is_missing() {
    let lab = Lab::bare(1);
    let twice = refused_daemon(&lab, &[], &lab.host(MANAGER));
    assert!(twice.contains("is in use by another shoal daemon"), "{twice}");
    let elsewhere = tempfile::tempdir().unwrap();
    let weak = refused_daemon(&lab, &["setpriv", "--bounding-set=-net_admin"], elsewhere.path());
    assert!(weak.to_uppercase().contains("CAP_NET_ADMIN"), "{weak}");

    let listener =
        "import socket,time\ns=socket.socket()\ns.bind(('0.0.0.0',2377))\ns.listen()\ntime.sleep(60)";
    let mut taken = lab.exec_command(MANAGER, &["python3", "-c", listener]).spawn().unwrap();
    let init = ["swarm", "init", "--advertise-addr", "192.168.50.11"];
    eventually("the port is taken", || {
        lab.exec(MANAGER, &["ss", "-Hltn", "sport", "=", ":2377"]).out.contains(":2377")
    });
    let refused = lab.docker(MANAGER, &init).refused();
    taken.kill().unwrap();
    taken.wait().unwrap();
    assert!(
        refused.contains("failed to listen on remote API address") && refused.contains("2377"),
        "{refused}"
    );
    let state = lab.docker(MANAGER, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).ok();
    assert_eq!(state.trim(), "inactive");
    eventually("the swarm can be made once the port is free", || lab.docker(MANAGER, &init).code == 0);
}

#[test]
fn joining_and_initialising_wrongly_leaves_the_node_alone() {
    let lab = Lab::bare(2);
    let pool = lab
        .docker(
            MANAGER,
            &["swarm", "init", "--advertise-addr", "192.168.50.11", "--default-addr-pool", "192.168.0.0/16"],
        )
        .refused();
    assert!(pool.contains("192.168.0.0/16") && pool.contains("192.168.50.0/24"), "{pool}");
    let state =
        |host| lab.docker(host, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).ok().trim().to_owned();
    assert_eq!(state(MANAGER), "inactive");
    lab.docker(MANAGER, &["swarm", "init", "--advertise-addr", "192.168.50.11"]).ok();
    let token = lab.docker(MANAGER, &["swarm", "join-token", "-q", "worker"]).ok().trim().to_owned();
    let (start, _) = token.rsplit_once('-').unwrap();
    let wrong = format!("{start}-{}", "a".repeat(25));
    let refused = lab.docker(WORKER1, &["swarm", "join", "--token", &wrong, "192.168.50.11:2377"]).refused();
    assert!(refused.contains("invalid join token"), "{refused}");
    let noise =
        lab.docker(WORKER1, &["swarm", "join", "--token", "nonsense", "192.168.50.11:2377"]).refused();
    assert!(noise.contains("invalid join token"), "{noise}");
    assert_eq!(state(WORKER1), "inactive");
    lab.docker(WORKER1, &["swarm", "join", "--token", &token, "192.168.50.11:2377"]).ok();
    assert_eq!(state(WORKER1), "active");
    lab.docker(WORKER1, &["swarm", "leave"]).ok();
    assert_eq!(state(WORKER1), "inactive");
    eventually("a node that has left can be removed", || {
        lab.docker(MANAGER, &["node", "rm", WORKER1]).code == 0
    });
}
