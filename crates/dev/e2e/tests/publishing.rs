//! Published ports: several, ranges, one number twice, on one address, for some clients only, and in host mode.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{CLIENT, HOSTS, Lab, MANAGER, WORKER1, WORKER2, address, eventually};

#[test]
fn ports_are_published_as_asked_to_whom_and_where() {
    let lab = Lab::swarm();
    several_ports(&lab);
    labels_that_cannot_be_followed(&lab);
    for_some_clients(&lab);
    on_one_address(&lab);
    in_host_mode(&lab);
}

fn url(host: &str, port: u16) -> String {
    format!("http://{}:{port}/", address(host))
}

fn answers(lab: &Lab, from: &str, host: &str, port: u16) -> bool {
    lab.curl(from, &url(host, port)).code == 0
}

/// What curl says when nobody answers in time.
fn is_dropped(lab: &Lab, from: &str, host: &str, port: u16) -> bool {
    let said = lab.exec(from, &["curl", "-sS", "--max-time", "1", &url(host, port)]);
    said.code == 28
}

fn is_refused(lab: &Lab, from: &str, host: &str, port: u16) -> bool {
    lab.curl(from, &url(host, port)).code == 7
}

fn several_ports(lab: &Lab) {
    let mut create = vec!["service", "create", "--name", "web", "--replicas", "3"];
    for published in ["8000:8000", "8001:8000", "8000:8000/udp", "8100-8102:8000-8002"] {
        create.extend(["-p", published]);
    }
    create.push("whoami");
    lab.docker(MANAGER, &create).ok();
    for (host, port) in [(MANAGER, 8000), (WORKER1, 8001), (WORKER2, 8100)] {
        eventually(&format!("port {port} of {host}"), || answers(lab, CLIENT, host, port));
    }
    assert!(is_refused(lab, CLIENT, MANAGER, 8101), "8101 leads to 8001, where nobody listens");
    let format = "{{range .Endpoint.Ports}}{{.PublishedPort}}:{{.TargetPort}}/{{.Protocol}} {{end}}";
    let shown = lab.docker(MANAGER, &["service", "inspect", "--format", format, "web"]).ok();
    let mut ports: Vec<&str> = shown.split_whitespace().collect();
    ports.sort_unstable();
    let expected = [
        "8000:8000/tcp",
        "8000:8000/udp",
        "8001:8000/tcp",
        "8100:8000/tcp",
        "8101:8001/tcp",
        "8102:8002/tcp",
    ];
    assert_eq!(ports, expected);
}

fn update(lab: &Lab, service: &str, label: &str) -> shoal_e2e::Said {
    lab.docker(MANAGER, &["service", "update", "--detach", "--label-add", label, service])
}

fn labels_that_cannot_be_followed(lab: &Lab) {
    let said = update(lab, "web", "shoal.publish.allow=somebody").refused();
    assert!(said.contains(r#"label shoal.publish.allow: "somebody" is not a network"#), "{said}");
    let said = update(lab, "web", "shoal.publish.on=9999=eth0").refused();
    assert!(said.contains("label shoal.publish.on: port 9999/tcp is not published by the service"), "{said}");
}

fn for_some_clients(lab: &Lab) {
    update(lab, "web", "shoal.publish.allow=8000=192.168.50.100").ok();
    let shown = lab.docker(MANAGER, &["service", "inspect", "--format", "{{json .Spec.Labels}}", "web"]).ok();
    assert!(shown.contains(r#""shoal.publish.allow":"8000=192.168.50.100""#), "{shown}");
    eventually("a host that is not allowed is dropped", || is_dropped(lab, WORKER1, MANAGER, 8000));
    for host in HOSTS {
        assert!(answers(lab, CLIENT, host, 8000), "the client is allowed at {host}");
        assert!(answers(lab, WORKER1, host, 8001), "the other port is open at {host}");
    }
    update(lab, "web", "shoal.publish.allow=8000=192.168.50.0/24").ok();
    eventually("the host is allowed", || answers(lab, WORKER1, MANAGER, 8000));
}

fn on_one_address(lab: &Lab) {
    update(lab, "web", &format!("shoal.publish.on=8001={}", address(WORKER1))).ok();
    eventually("others do not publish it", || is_refused(lab, CLIENT, MANAGER, 8001));
    assert!(answers(lab, CLIENT, WORKER1, 8001));
    assert!(answers(lab, CLIENT, MANAGER, 8000), "the other ports stay");
    update(lab, "web", "shoal.publish.on=8001=eth0").ok();
    eventually("every host's eth0", || HOSTS.iter().all(|host| answers(lab, CLIENT, host, 8001)));
}

fn in_host_mode(lab: &Lab) {
    let publish = "mode=host,target=8000,published=8200";
    let label = "shoal.publish.allow=192.168.50.100";
    let mut create = vec!["service", "create", "--name", "local", "--mode", "global"];
    create.extend(["--publish", publish, "--label", label, "whoami"]);
    lab.docker(MANAGER, &create).ok();
    for host in HOSTS {
        eventually(&format!("host port of {host}"), || answers(lab, CLIENT, host, 8200));
        let own = lab.containers_of("local").into_iter().find(|(_, at)| *at == host).unwrap().0;
        let said = lab.curl(CLIENT, &url(host, 8200)).ok();
        assert_eq!(said.trim(), format!("I'm {own}"), "its own task answers");
    }
    assert!(is_dropped(lab, WORKER1, MANAGER, 8200), "a host that is not allowed is dropped");
}
