//! The article's session, played on three hosts with the real docker command.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{CLIENT, CLIENT_ADDRESS, HOSTS, Lab, MANAGER, WORKER1, address, eventually};
use std::collections::BTreeSet;

#[test]
fn the_articles_session() {
    let lab = Lab::swarm();
    nodes_and_versions(&lab);
    images(&lab);
    networks_and_services(&lab);
    every_host_answers(&lab);
    from_inside_a_task(&lab);
    looking_inside(&lab);
    containers(&lab);
    scaling_and_updating(&lab);
}

fn nodes_and_versions(lab: &Lab) {
    let version = lab.docker(MANAGER, &["version", "--format", "{{.Server.APIVersion}}"]).ok();
    assert_eq!(version.trim(), "1.50");
    let info = lab.docker(MANAGER, &["info"]).ok();
    for line in ["Swarm: active", "Is Manager: true", "Nodes: 3", "Data Path Port: 4789"] {
        assert!(info.contains(line), "{line:?} is not in\n{info}");
    }
    let nodes =
        lab.docker(MANAGER, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"]).ok();
    let nodes: BTreeSet<&str> = nodes.lines().map(str::trim).collect();
    assert_eq!(nodes, ["swarm-manager Ready Leader", "swarm-worker1 Ready", "swarm-worker2 Ready"].into());
    let join = lab.docker(MANAGER, &["swarm", "join-token", "worker"]).ok();
    assert!(join.contains("docker swarm join --token SWMTKN-1-"), "{join}");
    let worker = lab.docker(WORKER1, &["node", "ls"]).refused();
    assert!(worker.contains("This node is not a swarm manager. Worker nodes can't be used"), "{worker}");
    let again = lab.docker(WORKER1, &["swarm", "init"]).refused();
    assert!(again.contains("This node is already part of a swarm."), "{again}");
}

fn images(lab: &Lab) {
    for host in HOSTS {
        let images = lab.docker(host, &["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
        let images: BTreeSet<&str> = images.lines().collect();
        assert_eq!(images, ["busybox:latest", "whoami:latest"].into(), "{host}");
    }
    lab.docker(MANAGER, &["tag", "busybox", "box:1"]).ok();
    let id = lab.docker(MANAGER, &["image", "inspect", "box:1", "--format", "{{.Id}}"]).ok();
    let same = lab.docker(MANAGER, &["image", "inspect", "busybox", "--format", "{{.Id}}"]).ok();
    assert_eq!(id, same);
    let removed = lab.docker(MANAGER, &["rmi", "box:1"]).ok();
    assert_eq!(removed.trim(), "Untagged: box:1");
    let missing = lab.docker(MANAGER, &["image", "inspect", "nosuch"]).refused();
    assert!(missing.to_lowercase().contains("no such image: nosuch"), "{missing}");
}

fn networks_and_services(lab: &Lab) {
    lab.docker(MANAGER, &["network", "create", "-d", "overlay", "my-demo"]).ok();
    let sleeper = "while true; do sleep 3600; done";
    lab.docker(
        MANAGER,
        &[
            "service",
            "create",
            "--detach",
            "--name",
            "client",
            "--network",
            "my-demo",
            "busybox",
            "sh",
            "-c",
            sleeper,
        ],
    )
    .ok();
    let created = lab
        .docker(
            MANAGER,
            &[
                "service",
                "create",
                "--name",
                "whoami",
                "-p",
                "8000:8000",
                "--network",
                "my-demo",
                "--replicas",
                "3",
                "--update-monitor",
                "500ms",
                "whoami",
            ],
        )
        .ok();
    assert!(created.contains("overall progress: 3 out of 3 tasks"), "{created}");
    assert!(created.contains("verify: Service ") && created.contains(" converged"), "{created}");
    lab.converged("client", 1);
    let shown = lab
        .docker(
            MANAGER,
            &["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} {{.Ports}}"],
        )
        .ok();
    let shown: BTreeSet<&str> = shown.lines().map(str::trim).collect();
    let expected =
        ["client replicated 1/1 busybox:latest", "whoami replicated 3/3 whoami:latest *:8000->8000/tcp"];
    assert_eq!(shown, expected.into());
    let pretty = lab.docker(MANAGER, &["service", "inspect", "--pretty", "whoami"]).ok();
    for line in ["Service Mode:\tReplicated", " Replicas:\t3", "PublishedPort = 8000", "Networks: my-demo"] {
        assert!(pretty.contains(line), "{line:?} is not in\n{pretty}");
    }
    let networks =
        lab.docker(MANAGER, &["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]).ok();
    for line in
        ["docker_gwbridge bridge local", "ingress overlay swarm", "my-demo overlay swarm", "host host local"]
    {
        assert!(networks.lines().any(|l| l == line), "{line:?} is not in\n{networks}");
    }
    inspected_networks(lab);
}

fn inspected_networks(lab: &Lab) {
    let inspect = |arguments: &[&str]| -> serde_json::Value {
        let mut all = vec!["network", "inspect"];
        all.extend_from_slice(arguments);
        let text = lab.docker(MANAGER, &all).ok();
        serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().remove(0)
    };
    let ingress = inspect(&["ingress"]);
    assert_eq!(ingress["Ingress"], true);
    assert_eq!(ingress["Scope"], "swarm");
    assert_eq!(ingress["Containers"]["ingress-sbox"]["Name"], "ingress-endpoint");
    assert_eq!(ingress["Options"]["com.docker.network.driver.overlay.vxlanid_list"], "4096");
    assert_eq!(ingress["Peers"].as_array().unwrap().len(), 3, "{ingress}");
    let bridge = inspect(&["docker_gwbridge"]);
    assert_eq!(bridge["Driver"], "bridge");
    assert_eq!(bridge["Containers"]["ingress-sbox"]["Name"], "gateway_ingress-sbox", "{bridge}");
    let demo = inspect(&["-v", "my-demo"]);
    assert_eq!(demo["Services"]["whoami"]["Tasks"].as_array().unwrap().len(), 3, "{demo}");
}

/// From each host by three names, and from a machine outside.
fn every_host_answers(lab: &Lab) {
    lab.docker(MANAGER, &["service", "scale", "whoami=2"]).ok();
    eventually("two containers of whoami", || lab.containers_of("whoami").len() == 2);
    let tasks: BTreeSet<String> = lab.containers_of("whoami").into_iter().map(|(id, _)| id).collect();
    for host in HOSTS {
        let by_address = format!("http://{}:8000/", address(host));
        for (from, url) in [
            (host, "http://127.0.0.1:8000/"),
            (host, "http://localhost:8000/"),
            (host, by_address.as_str()),
            (CLIENT, by_address.as_str()),
        ] {
            assert_eq!(lab.answers(from, url, 4), tasks, "{from} asked {url}");
        }
        let seen = lab.curl(CLIENT, &format!("{by_address}?verbose")).ok();
        assert!(seen.contains(CLIENT_ADDRESS), "through {host} the task saw {seen}");
    }
}

fn from_inside_a_task(lab: &Lab) {
    let (client, host) = lab.containers_of("client").remove(0);
    let exec = |arguments: &[&str]| {
        let mut all = vec!["exec", client.as_str()];
        all.extend_from_slice(arguments);
        lab.docker(host, &all)
    };
    let vip = lab
        .docker(
            MANAGER,
            &["service", "inspect", "whoami", "--format", "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}"],
        )
        .ok();
    let named = exec(&["nslookup", "whoami"]).out;
    let vip_known = vip.split_whitespace().filter_map(|v| v.split('/').next()).any(|v| named.contains(v));
    assert!(vip_known, "whoami resolves to {named}, its virtual addresses are {vip}");
    let all = exec(&["nslookup", "tasks.whoami"]).out;
    assert!(all.matches("Address").count() >= 3, "tasks.whoami resolves to {all}");
    let tasks: BTreeSet<String> = lab.containers_of("whoami").into_iter().map(|(id, _)| id).collect();
    let ask = |_| exec(&["wget", "-qO-", "http://whoami:8000"]).ok().trim().replace("I'm ", "");
    assert_eq!((0..4).map(ask).collect::<BTreeSet<String>>(), tasks);
    let terminal = exec(&["ip", "a"]).ok();
    assert!(terminal.contains("eth0") && terminal.contains("lo"), "{terminal}");
}

fn looking_inside(lab: &Lab) {
    for host in HOSTS {
        let netns = lab.host(host).join("exec/netns");
        let names: BTreeSet<String> = std::fs::read_dir(&netns)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            names.contains("ingress_sbox") && names.iter().any(|n| n.starts_with("1-")),
            "{host}: {names:?}"
        );
        let sandbox = format!("--net={}", netns.join("ingress_sbox").display());
        let addresses = lab.exec(host, &["nsenter", &sandbox, "ip", "-o", "address"]).ok();
        assert!(addresses.contains("eth0") && addresses.contains("172.18.0.2/16"), "{host}: {addresses}");
        assert!(addresses.contains("/32"), "{host} has no virtual address in ingress_sbox: {addresses}");
    }
    let overlay = lab.docker(MANAGER, &["network", "inspect", "ingress", "--format", "{{.Id}}"]).ok();
    let namespace = format!(
        "--net={}",
        lab.host(MANAGER).join("exec/netns").join(format!("1-{}", &overlay[..10])).display()
    );
    let device = lab.exec(MANAGER, &["nsenter", &namespace, "ip", "-d", "link", "show", "vxlan0"]).ok();
    assert!(
        device.contains("vxlan id 4096") && device.contains("mtu 1450") && device.contains("nolearning"),
        "{device}"
    );
    let entries = lab.exec(MANAGER, &["nsenter", &namespace, "bridge", "fdb", "show", "dev", "vxlan0"]).ok();
    assert!(entries.contains("dst 192.168.50.12") && entries.contains("permanent"), "{entries}");
    let shoal = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("shoal");
    let socket = format!("unix://{}", lab.host(WORKER1).join("docker.sock").display());
    let table = lab.exec(WORKER1, &[shoal.to_str().unwrap(), "lvs", "-n", "--host", &socket]).ok();
    assert!(table.contains("TCP  *:8000 rr") && table.matches("-> 10.0.0.").count() == 2, "{table}");
}

fn containers(lab: &Lab) {
    let (client, host) = lab.containers_of("client").remove(0);
    let shown = lab.docker(host, &["container", "ls", "--format", "{{.Names}} {{.Image}} {{.Status}}"]).ok();
    assert!(shown.lines().any(|l| l.starts_with("client.1.") && l.contains("Up ")), "{shown}");
    let inspected =
        lab.docker(host, &["inspect", &client, "--format", "{{.State.Status}} {{.Config.Image}}"]).ok();
    assert_eq!(inspected.trim(), "running busybox:latest");
    let code = lab.docker(host, &["exec", &client, "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((code.out.as_str(), code.err.trim(), code.code), ("out\n", "err", 7));
    let (whoami, host) = lab.containers_of("whoami").remove(0);
    assert_eq!(lab.docker(host, &["logs", &whoami]).ok().trim(), "Listening on :8000");
    eventually("the service's logs", || {
        lab.docker(MANAGER, &["service", "logs", "whoami"]).out.matches("Listening on :8000").count() >= 2
    });
}

fn scaling_and_updating(lab: &Lab) {
    lab.docker(MANAGER, &["service", "scale", "--detach", "whoami=10"]).ok();
    lab.converged("whoami", 10);
    let tasks: BTreeSet<String> = lab.containers_of("whoami").into_iter().map(|(id, _)| id).collect();
    assert_eq!(tasks.len(), 10);
    let url = format!("http://{}:8000/", address(WORKER1));
    eventually("all ten answer", || lab.answers(CLIENT, &url, 20) == tasks);
    lab.docker(MANAGER, &["service", "scale", "--detach", "whoami=2"]).ok();
    lab.converged("whoami", 2);
    let update = ["service", "update", "--detach", "--env-add", "A=b", "--update-monitor", "500ms", "whoami"];
    let before: BTreeSet<String> = lab.containers_of("whoami").into_iter().map(|(id, _)| id).collect();
    lab.docker(MANAGER, &update).ok();
    eventually("both tasks are new", || {
        let now: BTreeSet<String> = lab.containers_of("whoami").into_iter().map(|(id, _)| id).collect();
        now.len() == 2 && now.is_disjoint(&before)
    });
    // Until then the update's progress moves the service's version, and the next update would be out of sequence.
    eventually("the update is completed", || {
        let state = ["service", "inspect", "--format", "{{.UpdateStatus.State}}", "whoami"];
        lab.docker(MANAGER, &state).out.trim() == "completed"
    });
    for host in HOSTS {
        lab.docker(host, &["tag", "whoami:latest", "whoami:2"]).ok();
    }
    let image = ["service", "update", "--detach", "--image", "whoami:2", "--replicas", "3", "whoami"];
    lab.docker(MANAGER, &image).ok();
    lab.converged("whoami", 3);
    eventually("every task runs the new image", || {
        let running = [
            "service",
            "ps",
            "--filter",
            "desired-state=running",
            "--format",
            "{{.Image}} {{.CurrentState}}",
            "whoami",
        ];
        let shown = lab.docker(MANAGER, &running).out;
        shown.lines().count() == 3 && shown.lines().all(|l| l.starts_with("whoami:2 Running"))
    });
    lab.docker(MANAGER, &["service", "rm", "whoami"]).ok();
    eventually("no container of whoami", || lab.containers_of("whoami").is_empty());
    let refused = lab.curl(CLIENT, &url);
    assert_ne!(refused.code, 0, "a removed service still answers: {refused:?}");
}
