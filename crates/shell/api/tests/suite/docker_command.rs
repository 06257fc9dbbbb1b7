//! The real docker command (28.2) against the server.

use crate::fake::{Asked, Fake, Server};

#[tokio::test]
async fn version_and_info() {
    let server = Server::start(Fake::manager());
    let version = server.says(&["version"]).await;
    assert!(version.contains("Version:          28.2.2"), "{version}");
    assert!(version.contains("API version:      1.50 (minimum version 1.24)"), "{version}");
    let info = server.docker(&["info"]).await;
    let text = String::from_utf8_lossy(&info.stdout);
    for line in [
        "Swarm: active",
        "Is Manager: true",
        "Managers: 1",
        "Nodes: 3",
        "Name: swarm-manager",
        "Data Path Port: 4789",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    let complaints = String::from_utf8_lossy(&info.stderr);
    assert!(info.status.success() && !complaints.contains("WARNING"), "{complaints}");
}

#[tokio::test]
async fn nodes() {
    let server = Server::start(Fake::manager());
    let list = server.says(&["node", "ls"]).await;
    let row: Vec<&str> =
        list.lines().find(|l| l.contains("swarm-manager")).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["zcaufhu09zhbssz06csk9vkoj", "*", "swarm-manager", "Ready", "Active", "Leader", "28.2.2"]
    );
    let pretty = server.says(&["node", "inspect", "self", "--pretty"]).await;
    assert!(
        pretty.contains("Hostname:              \tswarm-manager")
            && pretty.contains("Raft Status:\t\tReachable"),
        "{pretty}"
    );
    server.says(&["node", "update", "--label-add", "zone=a", "swarm-worker1"]).await;
    let Asked::UpdateNode(spec) = server.fake.last_asked() else { panic!() };
    assert_eq!(spec.labels["zone"], "a");
    let refused = server.refuses(&["node", "rm", "swarm-worker1"]).await;
    assert!(refused.contains("is not down and can't be removed"), "{refused}");
    assert!(server.says(&["node", "ps", "self"]).await.contains("whoami.1"));
}

#[tokio::test]
async fn services() {
    let server = Server::start(Fake::manager());
    let list = server.says(&["service", "ls"]).await;
    let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["lmtwyjgql78z", "whoami", "replicated", "1/1", "whoami:latest", "*:8000->8000/tcp"]);
    let tasks = server.says(&["service", "ps", "whoami"]).await;
    assert!(
        tasks.contains("whoami.1") && tasks.contains("swarm-manager") && tasks.contains("Running"),
        "{tasks}"
    );
    let pretty = server.says(&["service", "inspect", "--pretty", "whoami"]).await;
    for line in [
        "Name:\t\twhoami",
        "Replicas:\t1",
        "Networks: my-demo",
        "PublishedPort = 8000",
        "Update order:      stop-first",
    ] {
        assert!(pretty.contains(line), "{line} is missing in {pretty}");
    }
    let logs = server.says(&["service", "logs", "whoami"]).await;
    assert_eq!(logs.trim_end(), "whoami.1.j08a6lxep9lq@swarm-manager    | Listening on :8000");
    let missing = server.refuses(&["service", "ps", "nosuch"]).await;
    assert_eq!(missing.trim(), "no such service: nosuch");
}

#[tokio::test]
async fn a_service_is_made_changed_and_removed() {
    let server = Server::start(Fake::manager());
    let arguments = [
        "service",
        "create",
        "-d",
        "--name",
        "web",
        "--network",
        "my-demo",
        "-p",
        "8080:80",
        "--replicas",
        "2",
        "--health-cmd",
        "true",
        "--label",
        "a=b",
        "whoami",
    ];
    let id = server.says(&arguments).await;
    assert_eq!(id.trim().len(), 25, "{id}");
    let Asked::Create(spec, _) = server.fake.last_asked() else { panic!() };
    let container = spec.task_template.container_spec.unwrap();
    assert!(container.healthcheck.is_some() && container.image.starts_with("whoami"));
    assert_eq!(spec.endpoint_spec.unwrap().ports[0].published_port, 8080);
    let again = server.refuses(&["service", "create", "-d", "--name", "web", "whoami"]).await;
    assert!(again.contains("rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists"));

    server.says(&["service", "update", "-d", "--env-add", "A=1", "web"]).await;
    let Asked::Update(update) = server.fake.last_asked() else { panic!() };
    assert_eq!(update.spec.task_template.container_spec.unwrap().env, ["A=1"]);
    let before = server.fake.state.lock().unwrap().find_service("web").unwrap().spec.clone();
    server.says(&["service", "scale", "-d", "web=5"]).await;
    let after = server.fake.state.lock().unwrap().find_service("web").unwrap().spec.clone();
    assert_eq!((before.replicas(), after.replicas()), (Some(2), Some(5)));
    assert_eq!(before.task_template, after.task_template, "scaling changes no task");
    server.says(&["service", "rollback", "-d", "web"]).await;
    let Asked::Update(update) = server.fake.last_asked() else { panic!() };
    assert!(update.rollback);
    assert_eq!(server.says(&["service", "rm", "web"]).await.trim(), "web");
}

#[tokio::test]
async fn services_of_every_mode_are_listed() {
    let server = Server::start(Fake::manager());
    for (name, mode) in [("g", "global"), ("j", "replicated-job"), ("k", "global-job")] {
        server
            .says(&[
                "service",
                "create",
                "-d",
                "--no-resolve-image",
                "--mode",
                mode,
                "--name",
                name,
                "whoami",
            ])
            .await;
    }
    let list = server.says(&["service", "ls", "--format", "{{.Name}} {{.Mode}}"]).await;
    for row in ["g global", "j replicated job", "k global job"] {
        assert!(list.contains(row), "{row} is missing in {list}");
    }
}

#[tokio::test]
async fn networks() {
    let server = Server::start(Fake::manager());
    let list = server.says(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]).await;
    for row in [
        "bridge bridge local",
        "docker_gwbridge bridge local",
        "ingress overlay swarm",
        "my-demo overlay swarm",
    ] {
        assert!(list.contains(row), "{row} is missing in {list}");
    }
    let subnet = server
        .says(&[
            "network",
            "inspect",
            "-v",
            "ingress",
            "--format",
            "{{(index .IPAM.Config 0).Subnet}} {{len .Peers}}",
        ])
        .await;
    assert_eq!(subnet.trim(), "10.0.0.0/24 1");
    let id = server
        .says(&["network", "create", "-d", "overlay", "--subnet", "10.9.0.0/24", "--attachable", "new"])
        .await;
    assert_eq!(id.trim().len(), 25);
    let spec = server.fake.state.lock().unwrap().find_network("new").unwrap().spec.clone();
    assert!(spec.attachable && spec.subnets[0].subnet.to_string() == "10.9.0.0/24");
    assert_eq!(server.says(&["network", "rm", "new"]).await.trim(), "new");
    assert!(server.refuses(&["network", "rm", "my-demo"]).await.contains("is in use by service"));
    assert!(server.refuses(&["network", "inspect", "nosuch"]).await.contains("network nosuch not found"));
}

#[tokio::test]
async fn swarm_membership() {
    let server = Server::start(Fake::alone());
    assert!(server.refuses(&["service", "ls"]).await.contains("Use \"docker swarm init\""));
    let init = server.says(&["swarm", "init", "--advertise-addr", "192.168.50.11"]).await;
    assert!(init.contains("current node (zcaufhu09zhbssz06csk9vkoj) is now a manager."), "{init}");
    assert!(init.contains("docker swarm join --token SWMTKN-1-4s4a8q5v-worker 192.168.50.11:2377"), "{init}");
    let token = server.says(&["swarm", "join-token", "-q", "manager"]).await;
    assert_eq!(token.trim(), "SWMTKN-1-4s4a8q5v-manager");
    server.says(&["swarm", "join-token", "--rotate", "worker"]).await;
    let Asked::UpdateSwarm(_, _, rotate) = server.fake.last_asked() else { panic!() };
    assert!(rotate.worker_token && !rotate.manager_token);
    server.says(&["swarm", "update", "--task-history-limit", "2"]).await;
    let Asked::UpdateSwarm(_, spec, _) = server.fake.last_asked() else { panic!() };
    assert_eq!(spec.orchestration.task_history_retention_limit, Some(2));
    assert_eq!(spec.raft.snapshot_interval, 10_000);
    server.says(&["swarm", "leave", "--force"]).await;
    let joined = server.says(&["swarm", "join", "--token", "SWMTKN-1-x", "192.168.50.11:2377"]).await;
    assert_eq!(joined.trim(), "This node joined a swarm as a worker.");
    assert!(server.refuses(&["node", "ls"]).await.contains("Worker nodes can't be used to view"));
}

#[tokio::test]
async fn containers() {
    let server = Server::start(Fake::manager());
    let list = server.says(&["ps", "--format", "{{.ID}} {{.Image}} {{.Names}} {{.Ports}}"]).await;
    assert_eq!(
        list.trim(),
        "5545c602cf26 whoami:latest whoami.1.j08a6lxep9lqad23vdlvrt5ff 0.0.0.0:8081->8000/tcp, [::]:8081->8000/tcp"
    );
    let pid = server
        .says(&[
            "inspect",
            "5545",
            "--format",
            "{{.State.Pid}} {{.NetworkSettings.Networks.ingress.IPAddress}}",
        ])
        .await;
    assert_eq!(pid.trim(), "4957 10.0.0.10");
    let logs = server.docker(&["logs", "5545"]).await;
    assert_eq!((logs.stdout.as_slice(), logs.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert!(server.says(&["top", "5545"]).await.contains("/whoami"));
    assert!(server.says(&["port", "5545"]).await.contains("8000/tcp -> 0.0.0.0:8081"));
    let stats =
        server.says(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "5545"]).await;
    assert_eq!(stats.trim(), "whoami.1.j08a6lxep9lqad23vdlvrt5ff 1MiB / 1GiB 3");
    server.says(&["kill", "--signal", "HUP", "5545"]).await;
    assert_eq!(server.fake.last_asked(), Asked::Kill("HUP".into()));
    server.says(&["stop", "5545"]).await;
    assert_eq!(server.says(&["wait", "5545"]).await.trim(), "7");
    let status = server.says(&["ps", "-a", "--format", "{{.Status}}"]).await;
    assert_eq!(status.trim(), "Exited (0) Less than a second ago");
    server.says(&["start", "5545"]).await;
    server.says(&["restart", "5545"]).await;
    server.says(&["rm", "-f", "5545"]).await;
    let missing = server.refuses(&["inspect", "nosuch"]).await;
    assert!(missing.to_lowercase().contains("no such object: nosuch"), "{missing}");
    assert!(
        server.refuses(&["run", "--rm", "whoami"]).await.contains("Shoal lacks making single containers")
    );
}

#[tokio::test]
async fn exec() {
    let server = Server::start(Fake::manager());
    assert_eq!(server.says(&["exec", "5545", "echo", "hello"]).await, "hello\n");
    let echoed = server.docker_with_input(&["exec", "-i", "5545", "cat"], b"line 1\nline 2\n").await;
    assert_eq!(String::from_utf8_lossy(&echoed.stdout), "line 1\nline 2\n[end of input]\n");
    let failed = server.docker(&["exec", "5545", "fail", "oh"]).await;
    assert_eq!((failed.status.code(), failed.stderr.as_slice()), (Some(3), &b"oh\n"[..]));
    let unknown = server.docker(&["exec", "5545", "nosuch"]).await;
    let words = String::from_utf8_lossy(&unknown.stdout).into_owned();
    assert_eq!(
        (unknown.status.code(), words.trim()),
        (Some(127), "nosuch: executable file not found in $PATH")
    );
    server.says(&["exec", "-d", "-e", "A=1", "-w", "/tmp", "-u", "1:2", "5545", "echo"]).await;
    let Asked::Exec(config) = server.fake.last_asked() else { panic!() };
    assert_eq!(
        (config.env, config.working_dir, config.user),
        (vec!["A=1".into()], "/tmp".into(), "1:2".into())
    );
    assert!(server.refuses(&["exec", "nosuch", "true"]).await.contains("No such container: nosuch"));
}

#[tokio::test]
async fn images() {
    let server = Server::start(Fake::manager());
    let list = server.says(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"]).await;
    assert_eq!(list.trim(), "whoami:latest d5b8766c2142 5MB");
    let loaded = server.docker_with_input(&["load"], b"archive").await;
    assert_eq!(String::from_utf8_lossy(&loaded.stdout), "Loaded image: whoami:latest\n");
    let imported = server.docker_with_input(&["import", "-", "a:1"], b"archive").await;
    assert_eq!(String::from_utf8_lossy(&imported.stdout).trim(), crate::fake::IMAGE_ID);
    let pulled = server.says(&["pull", "busybox"]).await;
    assert!(pulled.contains("Status: Downloaded newer image for busybox:latest"), "{pulled}");
    assert!(server.refuses(&["pull", "missing"]).await.contains("manifest for missing:latest not found"));
    server.says(&["tag", "whoami", "a/b:2"]).await;
    assert!(server.refuses(&["tag", "nosuch", "a/b:2"]).await.contains("No such image: nosuch:latest"));
    assert!(server.says(&["history", "whoami"]).await.contains("ADD whoami"));
    assert!(server.says(&["rmi", "whoami"]).await.contains("Untagged: whoami"));
    assert!(server.refuses(&["push", "r:5000/a"]).await.contains("the registry is not there"));
    let arch = server.says(&["image", "inspect", "whoami", "--format", "{{.Architecture}} {{.Os}}"]).await;
    assert_eq!(arch.trim(), "amd64 linux");
}

#[tokio::test]
async fn secrets_configs_and_stacks() {
    let server = Server::start(Fake::manager());
    let made = server.docker_with_input(&["secret", "create", "pw", "-"], b"hidden").await;
    assert_eq!(
        String::from_utf8_lossy(&made.stdout).trim().len(),
        25,
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    assert!(server.says(&["secret", "ls"]).await.contains("pw"));
    let made = server.docker_with_input(&["config", "create", "conf", "-"], b"shown").await;
    assert!(made.status.success());
    assert!(server.says(&["config", "inspect", "--pretty", "conf"]).await.contains("shown"));
    let file = server.directory.path().join("stack.yml");
    std::fs::write(
        &file,
        "services:\n  web:\n    image: whoami\n    networks: [front]\nnetworks:\n  front: {}\n",
    )
    .unwrap();
    server.says(&["stack", "deploy", "-d", "-c", file.to_str().unwrap(), "st"]).await;
    assert!(server.says(&["stack", "ls"]).await.contains("st"));
    assert!(server.says(&["stack", "services", "st"]).await.contains("st_web"));
    server.says(&["stack", "rm", "st"]).await;
    assert_eq!(server.says(&["stack", "ls", "--format", "{{.Name}}"]).await.trim(), "");
}

#[tokio::test]
async fn the_rest() {
    let server = Server::start(Fake::manager());
    let usage = server.says(&["system", "df"]).await;
    assert!(usage.contains("Images") && usage.contains("Containers"), "{usage}");
    let since = (crate::fake::NOW.unix_seconds() - 10).to_string();
    let until = crate::fake::NOW.unix_seconds().to_string();
    let events = server.says(&["events", "--since", &since, "--until", &until]).await;
    assert!(events.contains("container start 5545c602cf26"), "{events}");
    assert_eq!(server.says(&["volume", "ls", "-q"]).await, "");
    assert_eq!(server.says(&["plugin", "ls", "-q"]).await, "");
    assert!(server.refuses(&["volume", "create", "v"]).await.contains("Shoal lacks making volumes by hand"));
    server.says(&["system", "prune", "-f"]).await;
}

#[tokio::test]
async fn a_deployment_is_watched_until_it_has_converged() {
    let server = Server::start(Fake::manager());
    let arguments = [
        "service",
        "create",
        "--no-resolve-image",
        "--replicas",
        "2",
        "--update-monitor",
        "1ms",
        "--name",
        "watched",
        "whoami",
    ];
    let told = server.says(&arguments).await;
    assert!(told.contains("overall progress: 2 out of 2 tasks"), "{told}");
    assert!(told.contains("converged"), "{told}");
}
