//! The server's manners over HTTP: versions, headers, bodies, streams, hijacked connections.

use crate::fake::{Asked, CONTAINER_ID, Fake, MANAGER_ID, SERVICE_ID, Server};
use serde_json::{Value, json};
use shoal_wire::routes::{Answer, Method, ROUTES};
use shoal_wire::stdcopy;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const DEADLINE: Duration = Duration::from_secs(20);

async fn read_until(stream: &mut UnixStream, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(DEADLINE, async {
        while !bytes.windows(end.len()).any(|w| w == end) {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "ended early: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..count]);
        }
    })
    .await
    .unwrap_or_else(|_| panic!("nothing but {}", String::from_utf8_lossy(&bytes)));
    bytes
}

async fn read_to_end(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

#[tokio::test]
async fn every_answer_carries_dockers_headers() {
    let server = Server::start(Fake::manager());
    for path in ["/_ping", "/v1.41/nodes", "/nonsense", "/v1.99/info"] {
        let reply = server.get(path).await;
        assert_eq!(reply.header("Api-Version"), Some("1.50"), "{path}");
        assert_eq!(reply.header("Ostype"), Some("linux"), "{path}");
        assert_eq!(reply.header("Docker-Experimental"), Some("false"), "{path}");
        assert_eq!(reply.header("Server"), Some("Docker/28.2.2 (linux)"), "{path}");
    }
}

#[tokio::test]
async fn a_ping_tells_the_nodes_part_in_the_swarm() {
    for (fake, part) in
        [(Fake::manager(), "active/manager"), (Fake::worker(), "active/worker"), (Fake::alone(), "inactive")]
    {
        let server = Server::start(fake);
        let get = server.get("/_ping").await;
        assert_eq!((get.status, get.text().as_str(), get.header("Swarm")), (200, "OK", Some(part)));
        let head = server.call("HEAD", "/v1.24/_ping", "", b"").await;
        assert_eq!((head.status, head.body.len(), head.header("Swarm")), (200, 0, Some(part)));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_and_versions_are_refused_in_dockers_words() {
    let server = Server::start(Fake::manager());
    for (method, path) in
        [("GET", "/nonsense"), ("DELETE", "/info"), ("BREW", "/info"), ("GET", "/services/a/b/c")]
    {
        let reply = server.call(method, path, "", b"").await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (404, "{\"message\":\"page not found\"}\n"),
            "{path}"
        );
        assert_eq!(reply.header("Content-Type"), Some("application/json"));
    }
    let new = server.get("/v1.51/info").await;
    assert_eq!(new.status, 400);
    assert_eq!(new.message(), "client version 1.51 is too new. Maximum supported API version is 1.50");
    assert_eq!(server.get("/v1.23/info").await.status, 400);
    assert_eq!(server.get("/v1.24/configs").await.status, 404, "configs came with 1.30");
}

#[tokio::test]
async fn what_is_not_built_says_what_is_missing() {
    let server = Server::start(Fake::manager());
    for route in ROUTES {
        if let Answer::Unbuilt(missing) = route.answer {
            let path = route.path.replace(['{', '}', '.'], "");
            if route.method == Method::Head {
                assert_eq!(server.call("HEAD", &path, "", b"").await.status, 501);
                continue;
            }
            let reply = server.call(&route.method.to_string(), &path, "", b"").await;
            assert_eq!((reply.status, reply.message()), (501, format!("Shoal lacks {missing}")), "{path}");
        }
    }
}

#[tokio::test]
async fn every_built_path_answers_in_json_or_not_at_all() {
    for route in ROUTES {
        let Answer::Operation(_) = route.answer else { continue };
        if matches!(route.path, "/events" | "/_ping" | "/containers/{id}/stats") {
            continue;
        }
        let server = Server::start(Fake::manager());
        let path = route.path.replace(['{', '}', '.'], "");
        let reply = server.call(&route.method.to_string(), &path, "", b"").await;
        assert!(
            reply.status < 500 || reply.status == 501 || path.contains("distribution"),
            "{path}: {reply:?}"
        );
        if reply.status >= 400 {
            assert!(!reply.message().is_empty(), "{path}");
            assert_ne!(reply.message(), "page not found", "{path}");
        }
    }
}

#[tokio::test]
async fn bad_bodies_are_refused_with_a_reason() {
    let server = Server::start(Fake::manager());
    let cases: [(&str, &[u8], u16, &str); 5] = [
        ("Content-Type: application/json\r\n", b"{", 400, "invalid JSON: "),
        ("Content-Type: application/json\r\n", b"", 400, "invalid JSON: got EOF"),
        ("Content-Type: application/json\r\n", b"{\"Name\":3}", 400, "invalid JSON: "),
        ("Content-Type: text/plain\r\n", b"{}", 400, "unsupported Content-Type header (text/plain)"),
        ("", b"{}", 400, "unsupported Content-Type header ()"),
    ];
    for (headers, body, status, message) in cases {
        let reply = server.call("POST", "/services/create", headers, body).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.message().starts_with(message), "{}", reply.message());
    }
    let large = vec![b' '; (4 << 20) + 1];
    let reply = server
        .call("POST", "/services/create", "Content-Type: application/json; charset=utf-8\r\n", &large)
        .await;
    assert_eq!((reply.status, reply.message().as_str()), (413, "request body is larger than 4 MiB"));
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let server = Server::start(Fake::manager());
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(b"GET /v1.50/_ping HTTP/1.1\r\nHost: docker\r\n\r\n").await.unwrap();
        let reply = read_until(&mut stream, b"\r\n\r\nOK").await;
        assert!(reply.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn nodes_that_are_no_managers_say_so_in_dockers_words() {
    let worker = Server::start(Fake::worker());
    for path in ["/services", "/nodes", "/tasks", "/secrets", "/configs", "/swarm", "/services/x/logs"] {
        let reply = worker.get(path).await;
        assert_eq!(reply.status, 503, "{path}");
        assert!(
            reply.message().starts_with("This node is not a swarm manager. Worker nodes can't"),
            "{path}"
        );
    }
    let networks = worker.get("/networks").await.json();
    let ingress = networks.as_array().unwrap().iter().find(|n| n["Name"] == "ingress").unwrap();
    assert!(ingress["Peers"].is_array() && ingress["Containers"]["ingress-sbox"].is_object());
    let create = worker.post("/networks/create", r#"{"Name":"x","Driver":"overlay"}"#).await;
    assert_eq!(create.status, 403);
    assert!(create.message().starts_with("Cannot create a multi-host network from a worker node."));
    let alone = Server::start(Fake::alone());
    assert!(alone.get("/nodes").await.message().contains("docker swarm init"));
    assert_eq!(alone.get("/info").await.json()["Swarm"]["LocalNodeState"], "inactive");
}

#[tokio::test]
async fn a_swarm_begins_with_a_bare_id() {
    let server = Server::start(Fake::alone());
    let reply = server.post("/swarm/init", r#"{"ListenAddr":"0.0.0.0:2377","Spec":{"Labels":null}}"#).await;
    assert_eq!((reply.status, reply.json()), (200, json!(MANAGER_ID)));
    let again = server.post("/swarm/init", "{}").await;
    assert_eq!(again.status, 503);
    assert!(again.message().starts_with("This node is already part of a swarm."));
    let leave = server.call("POST", "/swarm/leave?force=1", "", b"").await;
    assert_eq!((leave.status, leave.body.len()), (200, 0));
    assert_eq!(server.fake.last_asked(), Asked::Leave(true));
    let gone = server.call("POST", "/swarm/leave", "", b"").await;
    assert_eq!((gone.status, gone.message().as_str()), (503, "This node is not part of a swarm"));
}

#[tokio::test]
async fn what_docker_py_sends_is_understood() {
    let server = Server::start(Fake::manager());
    let body = r#"{"name":"py","Mode":{"replicated":{"Replicas":5}},"UpdateConfig":{"order":"start-first"},
        "TaskTemplate":{"ContainerSpec":{"Image":"x","HealthCheck":{"Test":["CMD","y"]}},"Networks":null}}"#;
    let reply = server.post("/v1.41/services/create", body).await;
    assert_eq!((reply.status, reply.json()["Warnings"].clone()), (201, Value::Null), "{}", reply.text());
    let Asked::Create(spec, auth) = server.fake.last_asked() else { panic!() };
    assert_eq!((spec.name.as_str(), spec.replicas(), auth), ("py", Some(5), None));
    assert!(spec.task_template.container_spec.unwrap().healthcheck.is_some());
    let listed = server.get("/services?filters=%7B%22name%22%3A%5B%22py%22%5D%7D").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let bad = server.get("/services?filters=%7B%22foo%22%3A%5B%22py%22%5D%7D").await;
    assert_eq!((bad.status, bad.message().as_str()), (400, "invalid filter 'foo'"));
}

#[tokio::test]
async fn updates_name_the_version_that_they_are_based_on() {
    let server = Server::start(Fake::manager());
    let service = server.get("/services/whoami").await.json();
    let (index, spec) = (service["Version"]["Index"].as_u64().unwrap(), service["Spec"].to_string());
    let missing = server.post("/services/whoami/update", &spec).await;
    assert_eq!(missing.status, 400);
    assert!(missing.message().starts_with("invalid service version ''"), "{}", missing.message());
    let path = format!("/services/{SERVICE_ID}/update?version={index}&registryAuthFrom=previous-spec");
    let auth = "Content-Type: application/json\r\nX-Registry-Auth: e30=\r\n";
    let done = server.call("POST", &path, auth, spec.as_bytes()).await;
    assert_eq!((done.status, done.json()), (200, json!({"Warnings": null})));
    let Asked::Update(update) = server.fake.last_asked() else { panic!() };
    assert_eq!(update.auth.as_deref(), Some("e30="));
    assert_eq!(
        serde_json::to_value(&update.spec).unwrap(),
        service["Spec"],
        "what was shown comes back unchanged"
    );
    let stale = server.post(&path, &spec).await;
    let words = "rpc error: code = Unknown desc = update out of sequence";
    assert_eq!((stale.status, stale.message().as_str()), (500, words));
}

#[tokio::test]
async fn tasks_are_listed_by_what_they_belong_to() {
    let server = Server::start(Fake::manager());
    let count = async |filters: Value| {
        let text = filters.to_string();
        let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
        server.get(&format!("/tasks?filters={encoded}")).await.json().as_array().map(Vec::len)
    };
    assert_eq!(count(json!({"service": {"whoami": true}, "_up-to-date": {"true": true}})).await, Some(1));
    assert_eq!(count(json!({"node": ["swarm-manager"], "desired-state": ["running"]})).await, Some(1));
    assert_eq!(count(json!({"node": ["swarm-worker1"]})).await, Some(0));
    assert_eq!(count(json!({"name": ["whoami.1"]})).await, Some(1));
    assert_eq!(count(json!({"label": ["com.example"]})).await, Some(0));
    assert_eq!(count(json!({"service": ["nosuch"]})).await, None);
    assert_eq!(count(json!({"desired-state": ["walking"]})).await, None);
}

#[tokio::test]
async fn networks_are_found_by_name_id_and_prefix() {
    let server = Server::start(Fake::manager());
    for name in ["my-demo", "von2nfs5kgn3d0yi0n9z5lzdx", "von2"] {
        assert_eq!(server.get(&format!("/networks/{name}?scope=swarm")).await.json()["Name"], "my-demo");
    }
    assert_eq!(server.get("/networks/bridge?scope=swarm").await.status, 404);
    let ingress = server.get("/networks/ingress").await.json();
    assert_eq!(ingress["Containers"]["ingress-sbox"]["Name"], "ingress-endpoint");
    assert!(ingress.get("Services").is_none());
    assert!(server.get("/networks/ingress?verbose=true").await.json().get("Services").is_some());
    let missing = server.get("/networks/nosuch").await;
    assert_eq!((missing.status, missing.message().as_str()), (404, "network nosuch not found"));
    let twice = server.post("/networks/create", r#"{"Name":"my-demo","Driver":"overlay"}"#).await;
    assert_eq!((twice.status, twice.message().as_str()), (409, "network with name my-demo already exists"));
    assert_eq!(server.post("/networks/create", r#"{"Name":"b","Driver":"bridge"}"#).await.status, 501);
    let used = server.call("DELETE", "/networks/my-demo", "", b"").await;
    assert_eq!(used.status, 400);
    assert!(used.message().starts_with("rpc error: code = FailedPrecondition"));
    let bridge = server.call("DELETE", "/networks/bridge", "", b"").await;
    assert_eq!(bridge.message(), "bridge is a pre-defined network and cannot be removed");
}

#[tokio::test]
async fn secrets_hide_their_data_and_configs_show_it() {
    let server = Server::start(Fake::manager());
    let body = r#"{"Name":"s","Labels":{"a":"b"},"Data":"aGk="}"#;
    for (kind, shown) in [("secrets", Value::Null), ("configs", json!("aGk="))] {
        let made = server.post(&format!("/{kind}/create"), body).await;
        assert_eq!(made.status, 201);
        let object = server.get(&format!("/{kind}/s")).await.json();
        assert_eq!((&object["ID"], &object["Spec"]["Data"]), (&made.json()["ID"], &shown));
        assert_eq!(server.call("DELETE", &format!("/{kind}/s"), "", b"").await.status, 204);
        assert_eq!(server.get(&format!("/{kind}/s")).await.status, 404);
        assert_eq!(server.post(&format!("/{kind}/create"), r#"{"Name":"t","Data":"%"}"#).await.status, 400);
    }
}

#[tokio::test]
async fn the_head_of_a_wait_comes_before_the_start() {
    let server = Server::start(Fake::manager());
    let mut stream = server.connect().await;
    let request =
        format!("POST /containers/{CONTAINER_ID}/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, b"\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.call("POST", &format!("/containers/{CONTAINER_ID}/stop"), "", b"").await.status, 204);
    assert_eq!(server.call("POST", &format!("/containers/{CONTAINER_ID}/stop"), "", b"").await.status, 304);
    assert_eq!(server.call("POST", &format!("/containers/{CONTAINER_ID}/start"), "", b"").await.status, 204);
    let body = read_until(&mut stream, b"\n\r\n").await;
    assert!(String::from_utf8_lossy(&body).contains(r#"{"StatusCode":7}"#));
}

#[tokio::test]
async fn followed_logs_send_their_head_at_once_and_frame_each_line() {
    let server = Server::start(Fake::manager());
    let mut stream = server.connect().await;
    let request = format!(
        "GET /containers/{CONTAINER_ID}/logs?stdout=1&stderr=1&follow=1&timestamps=1 HTTP/1.1\r\nHost: d\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let bytes = read_until(&mut stream, b"err\n").await;
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    assert!(text.contains("content-type: application/vnd.docker.multiplexed-stream"), "{text}");
    let logs = server.get("/services/whoami/logs?stdout=1&details=1&tail=all").await;
    let frames = stdcopy::Reader::default().push(&logs.body).unwrap();
    let line = String::from_utf8(frames[0].1.clone()).unwrap();
    let want = format!(
        "com.docker.swarm.node.id={MANAGER_ID},com.docker.swarm.service.id={SERVICE_ID},\
         com.docker.swarm.task.id=j08a6lxep9lqad23vdlvrt5ff Listening on :8000\n"
    );
    assert_eq!((frames.len(), line), (1, want));
    assert_eq!(server.get("/containers/5545/logs").await.status, 400, "no stream was chosen");
    let old = server.get("/v1.41/containers/5545/logs?stdout=1").await;
    assert_eq!(old.header("Content-Type"), Some("application/vnd.docker.raw-stream"));
}

async fn exec(server: &Server, config: &str) -> String {
    let made = server.post("/containers/5545/exec", config).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["Id"].as_str().unwrap().to_owned()
}

async fn hijack(server: &Server, id: &str, body: &str) -> (UnixStream, String) {
    let mut stream = server.connect().await;
    let request = format!(
        "POST /v1.50/exec/{id}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn an_exec_session_is_framed_and_survives_the_end_of_its_input() {
    let server = Server::start(Fake::manager());
    let id = exec(&server, r#"{"Cmd":["cat"],"AttachStdin":true,"AttachStdout":true}"#).await;
    let (mut stream, head) = hijack(&server, &id, r#"{"Detach":false,"Tty":false}"#).await;
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("content-type: application/vnd.docker.multiplexed-stream"), "{head}");
    assert!(lower.contains("upgrade: tcp") && lower.contains("connection: upgrade"), "{head}");
    stream.write_all(b"hello\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let frames = stdcopy::Reader::default().push(&read_to_end(&mut stream).await).unwrap();
    let text: Vec<u8> = frames.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(String::from_utf8(text).unwrap(), "hello\n[end of input]\n");
    let inspected = server.get(&format!("/exec/{id}/json")).await.json();
    assert_eq!((&inspected["ExitCode"], &inspected["Running"]), (&json!(0), &json!(false)));
    assert_eq!(server.post(&format!("/exec/{id}/start"), "{}").await.status, 409, "a session runs once");
}

#[tokio::test]
async fn a_terminal_session_is_raw_and_ends_with_the_detach_keys() {
    let server = Server::start(Fake::manager());
    let id = exec(&server, r#"{"Cmd":["cat"],"AttachStdin":true,"Tty":true,"detachKeys":"ctrl-a,d"}"#).await;
    let (mut stream, head) = hijack(&server, &id, r#"{"Tty":true,"ConsoleSize":[24,80]}"#).await;
    assert!(head.to_ascii_lowercase().contains("application/vnd.docker.raw-stream"), "{head}");
    stream.write_all(b"hi\n").await.unwrap();
    assert_eq!(read_until(&mut stream, b"hi\n").await, b"hi\n");
    stream.write_all(b"\x01d").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"", "the process goes on, the session is over");
}

#[tokio::test]
async fn a_client_without_upgrade_gets_the_output_as_a_body() {
    let server = Server::start(Fake::manager());
    let id = exec(&server, r#"{"Cmd":["echo","a","b"],"AttachStdout":true}"#).await;
    let reply = server.post(&format!("/exec/{id}/start"), "{}").await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"\x01\0\0\0\0\0\0\x04a b\n"[..]));
    assert_eq!(reply.header("Content-Type"), Some("application/vnd.docker.raw-stream"));
    let id = exec(&server, r#"{"Cmd":["echo","a"]}"#).await;
    let detached = server.post(&format!("/exec/{id}/start"), r#"{"Detach":true}"#).await;
    assert_eq!((detached.status, detached.body.len()), (200, 0));
    assert_eq!(server.post("/exec/nosuch/start", "{}").await.status, 404);
    assert_eq!(server.post("/containers/5545/exec", r#"{"Cmd":[]}"#).await.status, 400);
}

#[tokio::test]
async fn containers_are_found_by_id_name_and_prefix() {
    let server = Server::start(Fake::manager());
    let name = "whoami.1.j08a6lxep9lqad23vdlvrt5ff";
    for path in [CONTAINER_ID, "5545c6", name, &format!("/{name}")] {
        let reply = server.get(&format!("/containers/{}/json", path.replace('/', "%2F"))).await;
        assert_eq!(reply.json()["Id"], CONTAINER_ID, "{path}");
    }
    let missing = server.get("/containers/nosuch/json").await;
    assert_eq!((missing.status, missing.message().as_str()), (404, "No such container: nosuch"));
    let listed = server.get("/containers/json?filters=%7B%22name%22%3A%5B%22%5Ewhoami%22%5D%7D").await.json();
    assert_eq!(listed[0]["Status"], "Up 2 seconds");
    assert_eq!(listed[0]["Ports"][0]["PublicPort"], 8081);
    let removal = server.call("DELETE", "/containers/5545", "", b"").await;
    assert_eq!(removal.status, 409);
    assert_eq!(server.call("DELETE", "/containers/5545?force=1&v=1", "", b"").await.status, 204);
    assert_eq!(server.get("/containers/json?all=1").await.json(), json!([]));
}

#[tokio::test]
async fn archives_of_any_size_are_streamed() {
    let server = Server::start(Fake::manager());
    let large = vec![7_u8; 9 << 20];
    let reply =
        server.call("POST", "/images/load?quiet=1", "Content-Type: application/x-tar\r\n", &large).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), "{\"stream\":\"Loaded image: whoami:latest\\n\"}\r\n");
    assert_eq!(server.fake.last_asked(), Asked::Load(9 << 20));
    let import = "/images/create?fromSrc=-&repo=a/b&tag=1&message=m";
    let reply = server.call("POST", import, "Content-Type: text/plain\r\n", b"tar").await;
    assert_eq!(reply.status, 200);
    assert_eq!(server.fake.last_asked(), Asked::Import(3, Some("a/b:1".into())));
    assert_eq!(server.get("/images/get?names=a&names=b").await.text(), "a+b");
}

#[tokio::test]
async fn a_failure_after_the_head_is_the_last_message() {
    let server = Server::start(Fake::manager());
    let reply = server.call("POST", "/images/r:5000/a/push?tag=1", "X-Registry-Auth: e30=\r\n", b"").await;
    let last: Value = serde_json::from_str(reply.text().lines().last().unwrap()).unwrap();
    assert_eq!((reply.status, &last["error"]), (200, &json!("the registry is not there")));
    assert_eq!(last["errorDetail"]["message"], "the registry is not there");
    let missing = server.call("POST", "/images/create?fromImage=missing&tag=1", "", b"").await;
    assert_eq!((missing.status, missing.message().as_str()), (404, "manifest for missing:1 not found"));
}

#[tokio::test]
async fn events_are_told_line_by_line() {
    let server = Server::start(Fake::manager());
    let (since, until) = (crate::fake::NOW.unix_seconds() - 10, crate::fake::NOW.unix_seconds());
    let reply = server.get(&format!("/events?since={since}&until={until}")).await;
    let lines: Vec<Value> = reply.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["Type"], &lines[0]["Action"], &lines[0]["from"]),
        (&json!("container"), &json!("create"), &json!("whoami:latest"))
    );
}

#[tokio::test]
async fn the_server_ends_when_it_is_told_although_a_client_listens() {
    let mut server = Server::start(Fake::manager());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    read_until(&mut stream, b"\r\n\r\n").await;
    server.shutdown.cancel();
    tokio::time::timeout(DEADLINE, &mut server.running).await.unwrap().unwrap().unwrap();
    read_to_end(&mut stream).await;
}

#[tokio::test]
async fn nonsense_on_one_connection_harms_no_other() {
    let server = Server::start(Fake::manager());
    let nonsense: [&[u8]; 4] = [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 tls?\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /services/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
    ];
    for bytes in nonsense {
        let mut stream = server.connect().await;
        stream.write_all(bytes).await.unwrap();
        let reply = read_to_end(&mut stream).await;
        assert!(reply.starts_with(b"HTTP/1.1 40"), "{}", String::from_utf8_lossy(&reply));
    }
    let mut half = server.connect().await;
    half.write_all(b"POST /services/create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    drop(half);
    assert_eq!(server.get("/_ping").await.status, 200);
}

#[tokio::test]
async fn a_refused_body_is_read_so_that_the_client_reads_the_refusal() {
    let server = Server::start(Fake::worker());
    let body = vec![b'x'; 200 << 10];
    for path in ["/volumes/create", "/services/create", "/nonsense", "/v1.99/build"] {
        let mut stream = server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        for part in body.chunks(10 << 10) {
            stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        read_until(&mut stream, b"\"}\n").await;
        // The connection goes on.
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
        read_until(&mut stream, b"\r\n\r\nOK").await;
    }
}
