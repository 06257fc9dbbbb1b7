//! Answers compared, byte for byte, with what a real Docker Swarm answered in the same situation (`golden/`).
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shoal_model::cluster::{ClusterSpec, JoinTokens};
use shoal_model::network::{NetworkSpec, Subnet};
use shoal_model::node::{EngineDescription, EnginePlugin, NodeDescription, NodeResources, NodeStatus};
use shoal_model::service::{Endpoint, VirtualIp};
use shoal_model::spec::{EndpointMode, Labels, Platform, PortConfig, Protocol, PublishMode, ServiceSpec};
use shoal_model::task::{Attachment, ContainerStatus, TaskState, TaskStatus};
use shoal_model::{Cluster, Meta, Network, Node, Service, Task, Timestamp, Version};
use shoal_wire::certificate::TlsInfo;
use shoal_wire::container::{Container, ContainerLimits, ContainerNetwork, ContainerState};
use shoal_wire::network::{LocalNetwork, NetworkEndpoint, OverlayView, ServiceTaskView, ServiceView};
use shoal_wire::network_body::NetworkBody;
use shoal_wire::system::{ManagerHealth, ManagerPeer, MemberFacts, Membership, SystemFacts};
use std::collections::BTreeMap;
use std::sync::Arc;

const INGRESS: &str = "ijakqjmk06dcclaiqf9x2bjyo";
const MY_DEMO: &str = "von2nfs5kgn3d0yi0n9z5lzdx";
const MANAGER: &str = "zcaufhu09zhbssz06csk9vkoj";
const CONTAINER: &str = "5545c602cf26b36995b53428afd968a8bd029b0f4de4359471c81c3ce86a7597";
const IN_INGRESS: &str = "62c1d9ce2b140be6961f3dd17b11bffcebe4398b2ec994c1d0101a5fd542898e";
const IN_MY_DEMO: &str = "34d91e2ffa1eaf26fe75f354e2c466aa6f78bf6369e1476841be6e7ddc1067fa";

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn same(answer: &impl Serialize, name: &str) {
    let answer = serde_json::to_value(answer).unwrap();
    let (answer, golden) = (
        serde_json::to_string_pretty(&answer).unwrap(),
        serde_json::to_string_pretty(&golden(name)).unwrap(),
    );
    if let Some((line, (have, want))) =
        answer.lines().zip(golden.lines()).enumerate().find(|(_, (have, want))| have != want)
    {
        panic!("{name}, line {}: have {have}\nwant {want}\n{answer}", line + 1);
    }
    assert_eq!(answer, golden, "{name}");
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    shoal_wire::json::from_value(value).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn meta(index: u64, created: &str, updated: &str) -> Meta {
    Meta { version: Version { index }, created_at: time(created), updated_at: time(updated) }
}

fn network(id: &str, name: &str, vni: u32, subnet: &str, gateway: &str, meta: Meta) -> Network {
    Network {
        id: id.parse().unwrap(),
        meta,
        spec: NetworkSpec { name: name.into(), ingress: name == "ingress", ..NetworkSpec::default() },
        subnets: vec![Subnet {
            subnet: subnet.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            range: None,
            last: None,
        }],
        vni,
    }
}

fn ingress() -> Network {
    let meta = meta(6, "2026-11-22T23:16:29.418122567Z", "2026-11-22T23:16:30.954240422Z");
    network(INGRESS, "ingress", 4096, "10.0.0.0/24", "10.0.0.1", meta)
}

fn my_demo() -> Network {
    let meta = meta(22, "2026-11-22T23:19:21.748597795Z", "2026-11-22T23:19:22.295668135Z");
    network(MY_DEMO, "my-demo", 4097, "10.0.1.0/24", "10.0.1.1", meta)
}

fn published() -> PortConfig {
    PortConfig {
        name: String::new(),
        protocol: Some(Protocol::Tcp),
        target_port: 8000,
        published_port: 8000,
        publish_mode: Some(PublishMode::Ingress),
    }
}

fn whoami() -> Service {
    // What the docker command sends: no isolation, no runtime, no numbers that it was not given.
    let spec: ServiceSpec = read(json!({
        "Name": "whoami",
        "TaskTemplate": {
            "ContainerSpec": {"Image": "whoami:latest", "Init": false, "DNSConfig": {}},
            "Resources": {"Limits": {}, "Reservations": {}},
            "Placement": {},
            "Networks": [{"Target": MY_DEMO}],
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": 2}},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"TargetPort": 8000, "PublishedPort": 8000}]},
    }));
    Service {
        id: "lmtwyjgql78zmcl0n05onfo6b".parse().unwrap(),
        meta: meta(88, "2026-11-22T23:21:58.572590368Z", "2026-11-22T23:31:08.674695144Z"),
        spec: spec.clone(),
        previous_spec: Some(spec),
        spec_version: Version { index: 88 },
        previous_spec_version: Some(Version { index: 80 }),
        endpoint: Endpoint {
            mode: Some(EndpointMode::Vip),
            ports: vec![published()],
            virtual_ips: vec![
                VirtualIp { network: INGRESS.parse().unwrap(), address: "10.0.0.5/24".parse().unwrap() },
                VirtualIp { network: MY_DEMO.parse().unwrap(), address: "10.0.1.5/24".parse().unwrap() },
            ],
        },
        update_status: None,
        job_iteration: None,
        registry_auth: None,
        job_last_execution: Timestamp::default(),
    }
}

fn whoami_task(id: &str, slot: u64) -> Task {
    let mut service = whoami();
    shoal_wire::service::canonical(&mut service.spec);
    let attachment = |network: &str, address: &str| Attachment {
        network: network.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        aliases: Vec::new(),
    };
    Task {
        id: id.parse().unwrap(),
        meta: meta(90, "2026-11-22T23:31:06.090836806Z", "2026-11-22T23:31:49.970738965Z"),
        service: service.id.clone(),
        service_name: "whoami".into(),
        slot,
        node: Some(MANAGER.parse().unwrap()),
        spec: service.spec.task_template.clone(),
        spec_version: service.spec_version,
        desired: TaskState::Running,
        status: TaskStatus {
            timestamp: time("2026-11-22T23:31:49.94858668Z"),
            state: TaskState::Running,
            message: "started".into(),
            err: String::new(),
            container: Some(ContainerStatus { container_id: CONTAINER.into(), pid: 4957, exit_code: 0 }),
        },
        attachments: vec![attachment(INGRESS, "10.0.0.10/24"), attachment(MY_DEMO, "10.0.1.13/24")],
        host_ports: Vec::new(),
        job_iteration: None,
        start_after: Timestamp::default(),
        running_since: Timestamp::default(),
    }
}

fn root_pem() -> String {
    golden("swarm.json")["TLSInfo"]["TrustRoot"].as_str().unwrap().to_owned()
}

fn cluster() -> Cluster {
    let token = |kind: &str| golden("swarm.json")["JoinTokens"][kind].as_str().unwrap().to_owned();
    Cluster {
        id: "zkljw392fltiggz2k395zj94s".parse().unwrap(),
        meta: meta(10, "2026-11-22T23:16:29.3688734Z", "2026-11-22T23:16:31.501624164Z"),
        spec: ClusterSpec::default(),
        default_addr_pool: vec!["10.0.0.0/8".parse().unwrap()],
        subnet_size: 24,
        data_path_port: 4789,
        root_ca: root_pem(),
        root_ca_key: "not to be shown".into(),
        join_tokens: JoinTokens { worker: token("Worker"), manager: token("Manager") },
    }
}

fn endpoint(name: &str, id: &str, mac: &str, address: &str) -> NetworkEndpoint {
    NetworkEndpoint {
        name: name.into(),
        endpoint_id: id.into(),
        mac: Some(mac.parse().unwrap()),
        ipv4: Some(address.parse().unwrap()),
        ipv6: None,
    }
}

#[test]
fn a_service_is_shown_as_docker_shows_it() {
    let (service, second) = (whoami(), whoami_task("j08a6lxep9lqad23vdlvrt5ff", 2));
    let first = whoami_task("n6kcsgc85oxok834phdl6i4oi", 1);
    let mut shown = shoal_wire::service::Service::new(&service, false);
    let tasks = [first, second];
    shown.service_status = Some(shoal_wire::service::count_tasks(&service, tasks.iter()));
    same(&shown, "service.json");
}

#[test]
fn a_task_is_shown_as_docker_shows_it() {
    let networks: BTreeMap<_, _> =
        [ingress(), my_demo()].into_iter().map(|n| (n.id.clone(), Arc::new(n))).collect();
    let task = whoami_task("j08a6lxep9lqad23vdlvrt5ff", 2);
    same(&shoal_wire::task::Task::new(&task, &networks), "task.json");
}

#[test]
fn a_node_is_shown_as_docker_shows_it() {
    let plugin = |kind: &str, name: &str| EnginePlugin { kind: kind.into(), name: name.into() };
    let node = Node {
        id: MANAGER.parse().unwrap(),
        meta: meta(86, "2026-11-22T23:16:29.370491487Z", "2026-11-22T23:31:06.221647826Z"),
        spec: read(json!({"Role": "manager"})),
        description: NodeDescription {
            hostname: "swarm-manager".into(),
            platform: Platform { architecture: "x86_64".into(), os: "linux".into() },
            resources: NodeResources { nano_cpus: 2_000_000_000, memory_bytes: 8_326_922_240 },
            engine: EngineDescription {
                engine_version: "28.2.2".into(),
                labels: Labels::new(),
                plugins: vec![plugin("Network", "overlay"), plugin("Volume", "local")],
            },
            routes: vec!["192.168.50.0/24".parse().unwrap()],
        },
        status: NodeStatus {
            state: shoal_model::node::NodeState::Ready,
            addr: "192.168.50.11".into(),
            ..NodeStatus::default()
        },
        manager_addr: Some("192.168.50.11:2377".into()),
        raft_id: Some(1),
        attachments: BTreeMap::new(),
        certificate_digest: "not to be shown".into(),
    };
    let health = ManagerHealth { leader: true, reachable: true };
    same(&shoal_wire::node::Node::new(&node, &TlsInfo::of_root(&root_pem()), Some(health)), "node.json");
}

#[test]
fn the_swarm_is_shown_as_docker_shows_it() {
    same(&shoal_wire::swarm::Swarm::from(&cluster()), "swarm.json");
}

#[test]
fn an_overlay_is_listed_as_the_managers_know_it() {
    same(&NetworkBody::swarm(&my_demo()).body, "network_listed.json");
}

#[test]
fn the_ingress_network_is_shown_with_endpoints_and_peers() {
    let view = OverlayView {
        network: ingress(),
        created: time("2026-11-22T23:16:31.515368216Z"),
        containers: BTreeMap::from([
            (
                CONTAINER.to_owned(),
                endpoint(
                    "whoami.2.j08a6lxep9lqad23vdlvrt5ff",
                    IN_INGRESS,
                    "02:42:0a:00:00:0a",
                    "10.0.0.10/24",
                ),
            ),
            (
                "ingress-sbox".to_owned(),
                endpoint(
                    "ingress-endpoint",
                    "f3237791ac71bf8b521406af3c0415d9359cbce8441914a8a6ddc4f2d4d2565f",
                    "02:42:0a:00:00:02",
                    "10.0.0.2/24",
                ),
            ),
        ]),
        peers: vec![
            ("5f3d7b941e5b".into(), "192.168.50.11".parse().unwrap()),
            ("c060df0f8357".into(), "192.168.50.12".parse().unwrap()),
            ("033b94af1aab".into(), "192.168.50.13".parse().unwrap()),
        ],
        services: BTreeMap::new(),
    };
    same(&NetworkBody::overlay(&view).body, "network_ingress.json");
}

#[test]
fn a_verbose_inspection_shows_the_services() {
    let task = |name: &str, id: &str, address: &str, host: &str| ServiceTaskView {
        name: name.into(),
        endpoint_id: id.into(),
        addresses: vec![address.parse().unwrap()],
        host: host.parse().unwrap(),
    };
    let service = |vip: &str, index: u32, tasks: Vec<ServiceTaskView>| ServiceView {
        vips: vec![vip.parse().unwrap()],
        ports: Vec::new(),
        local_lb_index: index,
        tasks,
    };
    let client = task(
        "client.1.4cd2cr2jv3plutlemnub2muz4",
        "94c27d1c222acfaed4d0e1d29b33e0bff559f6f22b0945692d15120ec2809454",
        "10.0.1.3",
        "192.168.50.13",
    );
    let second = task("whoami.2.j08a6lxep9lqad23vdlvrt5ff", IN_MY_DEMO, "10.0.1.13", "192.168.50.11");
    let first = task(
        "whoami.1.n6kcsgc85oxok834phdl6i4oi",
        "b3240cf6a806aa1ebad431e0d9bc2e7b718b0f661308ef110460175ed64dd8a4",
        "10.0.1.6",
        "192.168.50.13",
    );
    let view = OverlayView {
        network: my_demo(),
        created: time("2026-11-22T23:31:06.419758996Z"),
        containers: BTreeMap::from([
            (
                CONTAINER.to_owned(),
                endpoint(
                    "whoami.2.j08a6lxep9lqad23vdlvrt5ff",
                    IN_MY_DEMO,
                    "02:42:0a:00:01:0d",
                    "10.0.1.13/24",
                ),
            ),
            (
                "lb-my-demo".to_owned(),
                endpoint(
                    "my-demo-endpoint",
                    "6f6a348f4b70703125c5f491a5e7703fbe6dad3fdc13685d48f58dedc7d06e68",
                    "02:42:0a:00:01:0e",
                    "10.0.1.14/24",
                ),
            ),
        ]),
        peers: vec![
            ("033b94af1aab".into(), "192.168.50.13".parse().unwrap()),
            ("5f3d7b941e5b".into(), "192.168.50.11".parse().unwrap()),
        ],
        services: BTreeMap::from([
            ("client".to_owned(), service("10.0.1.2", 262, vec![client])),
            ("whoami".to_owned(), service("10.0.1.5", 263, vec![second, first])),
        ]),
    };
    same(&NetworkBody::overlay(&view).verbose(), "network_verbose.json");
}

#[test]
fn the_gateway_bridge_is_shown_as_docker_shows_it() {
    let options = [
        ("com.docker.network.bridge.enable_icc", "false"),
        ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ("com.docker.network.bridge.name", "docker_gwbridge"),
    ];
    let network = LocalNetwork {
        name: "docker_gwbridge".into(),
        id: "7445310900b3abf3480d8be32c4214ba4f42b987160a29752e2a03350ef8e4d8".into(),
        created: time("2026-11-22T23:18:11.320689217Z"),
        driver: "bridge".into(),
        subnets: vec![("172.18.0.0/16".parse().unwrap(), Some("172.18.0.1".parse().unwrap()))],
        internal: false,
        options: options.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        labels: Labels::new(),
        containers: BTreeMap::new(),
    };
    same(&NetworkBody::local(&network).body, "network_gwbridge.json");
}

fn facts() -> SystemFacts {
    SystemFacts {
        name: "swarm-manager".into(),
        version: "28.2.2".into(),
        cgroup_version: 2,
        ..SystemFacts::default()
    }
}

fn membership() -> Membership {
    let node: shoal_model::NodeId = MANAGER.parse().unwrap();
    Membership::Manager(MemberFacts {
        node: node.clone(),
        addr: "192.168.50.11".into(),
        managers: vec![ManagerPeer { node, addr: "192.168.50.11:2377".into() }],
    })
}

#[test]
fn info_has_every_key_that_docker_has() {
    let swarm = shoal_wire::swarm::SwarmInfo {
        nodes: 3,
        managers: 1,
        cluster: Some((&cluster()).into()),
        ..shoal_wire::swarm::SwarmInfo::of(&membership())
    };
    let info = shoal_wire::info::info(&facts(), &swarm, time("2026-11-22T23:40:55.34341294Z"));
    // Kernel memory limits went away with API 1.42.
    let gone = ["KernelMemory", "KernelMemoryTCP"];
    let keys =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/info_keys.txt")).unwrap();
    for key in keys.lines().filter(|key| !gone.contains(key)) {
        assert!(info.get(key).is_some(), "{key} is missing");
    }
    let cluster = info["Swarm"]["Cluster"].as_object().unwrap();
    assert!(cluster.get("JoinTokens").is_none(), "tokens are nobody's business but /swarm's");
    assert_eq!(info["Swarm"]["RemoteManagers"][0]["Addr"], "192.168.50.11:2377");
    serde_json::from_value::<bollard_stubs::models::SystemInfo>(info).unwrap();
}

#[test]
fn secrets_keep_their_data_and_configs_show_it() {
    let spec = shoal_model::object::DataSpec { name: "s".into(), data: b"hi".to_vec(), ..Default::default() };
    let meta = Meta::default();
    let secret = shoal_wire::object::DataObject::new("x", meta, &spec, false);
    assert_eq!(serde_json::to_value(&secret).unwrap()["Spec"], json!({"Name": "s", "Labels": {}}));
    let config = shoal_wire::object::DataObject::new("x", meta, &spec, true);
    assert_eq!(serde_json::to_value(&config).unwrap()["Spec"]["Data"], "aGk=");
}

fn container() -> Container {
    let on = |network: &str, endpoint: &str, address: &str, mac: &str| ContainerNetwork {
        network_id: network.into(),
        endpoint_id: endpoint.into(),
        addresses: vec![address.parse().unwrap()],
        mac: Some(mac.parse().unwrap()),
        gateway: None,
        aliases: Vec::new(),
    };
    let labels = golden("container_summary.json")["Labels"].clone();
    Container {
        id: CONTAINER.into(),
        name: "whoami.2.j08a6lxep9lqad23vdlvrt5ff".into(),
        created: Timestamp(1_795_390_290_000_000_000),
        state: ContainerState::Running { pid: 4957, started_at: Timestamp(1_795_390_310_000_000_000) },
        started_at: Timestamp(1_795_390_310_000_000_000),
        health: None,
        error: String::new(),
        image: "whoami:latest".into(),
        image_id: "sha256:d5b8766c21421966edbef40b97c6c92d5fd756907475eb84051639563e87936d".into(),
        command: vec!["/whoami".into()],
        entrypoint: vec!["/whoami".into()],
        cmd: Vec::new(),
        env: vec!["PATH=/bin".into()],
        working_dir: String::new(),
        user: String::new(),
        hostname: "5545c602cf26".into(),
        labels: read(labels),
        tty: false,
        open_stdin: false,
        stop_signal: String::new(),
        ports: vec![PortConfig { published_port: 0, ..published() }],
        mounts: Vec::new(),
        networks: BTreeMap::from([
            ("ingress".to_owned(), on(INGRESS, IN_INGRESS, "10.0.0.10/24", "02:42:0a:00:00:0a")),
            ("my-demo".to_owned(), on(MY_DEMO, IN_MY_DEMO, "10.0.1.13/24", "02:42:0a:00:01:0d")),
        ]),
        sandbox_key: "/run/shoal/netns/5545c602cf26".into(),
        log_path: String::new(),
        resolv_conf_path: String::new(),
        hosts_path: String::new(),
        hostname_path: String::new(),
        limits: ContainerLimits::default(),
        size_rw: None,
        size_root_fs: None,
        exec_ids: Vec::new(),
        restart_count: 0,
    }
}

/// Every key and value of `want` is in `have`; `have` may know more.
fn contains(have: &Value, want: &Value, path: &str) {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => {
            for (key, value) in want {
                let below = have.get(key).unwrap_or_else(|| panic!("{path}.{key} is missing"));
                contains(below, value, &format!("{path}.{key}"));
            }
        }
        (Value::Array(have), Value::Array(want)) => {
            assert_eq!(have.len(), want.len(), "{path}");
            for (index, (have, want)) in have.iter().zip(want).enumerate() {
                contains(have, want, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(have, want, "{path}"),
    }
}

#[test]
fn a_listed_container_has_all_that_docker_shows() {
    let now = Timestamp(1_795_390_310_000_000_000 + 9 * 60 * 1_000_000_000);
    let shown = shoal_wire::container_body::summary(&container(), now, false);
    contains(&shown, &golden("container_summary.json"), "container");
    serde_json::from_value::<bollard_stubs::models::ContainerSummary>(shown).unwrap();
}

#[test]
fn an_inspected_container_has_the_shape_that_clients_know() {
    let shown = shoal_wire::container_body::inspect(&container(), "overlay2", true);
    assert_eq!(shown["State"]["Pid"], 4957);
    assert_eq!(shown["Config"]["Image"], "whoami:latest");
    assert_eq!(shown["NetworkSettings"]["Ports"], json!({"8000/tcp": null}));
    serde_json::from_value::<bollard_stubs::models::ContainerInspectResponse>(shown).unwrap();
}

#[test]
fn a_container_shows_its_ipv6_address_where_it_has_one() {
    let mut container = container();
    container.networks.get_mut("my-demo").unwrap().addresses.push("fd00:1::d/64".parse().unwrap());
    let shown = shoal_wire::container_body::inspect(&container, "overlay2", true);
    let networks = &shown["NetworkSettings"]["Networks"];
    let (dual, plain) = (&networks["my-demo"], &networks["ingress"]);
    assert_eq!(dual["IPAMConfig"], json!({"IPv4Address": "10.0.1.13", "IPv6Address": "fd00:1::d"}));
    assert_eq!((&dual["IPAddress"], &dual["IPPrefixLen"]), (&json!("10.0.1.13"), &json!(24)));
    assert_eq!((&dual["GlobalIPv6Address"], &dual["GlobalIPv6PrefixLen"]), (&json!("fd00:1::d"), &json!(64)));
    assert_eq!((&plain["GlobalIPv6Address"], &plain["GlobalIPv6PrefixLen"]), (&json!(""), &json!(0)));
}

#[test]
fn defaults_are_filled_in_only_when_asked_for() {
    let plain = serde_json::to_value(shoal_wire::service::Service::new(&whoami(), false)).unwrap();
    assert!(plain["Spec"].get("UpdateConfig").is_none());
    let full = serde_json::to_value(shoal_wire::service::Service::new(&whoami(), true)).unwrap();
    let update = json!({"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_i64,
        "MaxFailureRatio": 0, "Order": "stop-first"});
    assert_eq!((&full["Spec"]["UpdateConfig"], &full["Spec"]["RollbackConfig"]), (&update, &update));
    assert_eq!(full["Spec"]["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"], 10_000_000_000_i64);
    let policy = json!({"Condition": "any", "Delay": 5_000_000_000_i64, "MaxAttempts": 0});
    assert_eq!(full["Spec"]["TaskTemplate"]["RestartPolicy"], policy);
}

#[test]
fn a_mode_without_numbers_is_given_them() {
    let canonical = |mode: Value| {
        let mut spec: ServiceSpec = read(json!({"Mode": mode}));
        shoal_wire::service::canonical(&mut spec);
        let once = spec.clone();
        shoal_wire::service::canonical(&mut spec);
        assert_eq!(once, spec, "the second time changes nothing");
        serde_json::to_value(spec.mode).unwrap()
    };
    assert_eq!(canonical(json!({"Replicated": {}})), json!({"Replicated": {"Replicas": 1}}));
    assert_eq!(canonical(json!({})), json!({"Replicated": {"Replicas": 1}}));
    assert_eq!(canonical(json!({"replicated": {"Replicas": 0}})), json!({"Replicated": {"Replicas": 0}}));
    assert_eq!(
        canonical(json!({"ReplicatedJob": {}})),
        json!({"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}})
    );
    assert_eq!(canonical(json!({"global": {}})), json!({"Global": {}}));
}

#[test]
fn a_service_without_virtual_address_has_an_empty_endpoint() {
    let mut service = whoami();
    service.spec.endpoint_spec = Some(read(json!({"Mode": "dnsrr"})));
    service.endpoint =
        Endpoint { mode: Some(EndpointMode::Dnsrr), ports: Vec::new(), virtual_ips: Vec::new() };
    let shown = serde_json::to_value(shoal_wire::service::Service::new(&service, false)).unwrap();
    assert_eq!(shown["Endpoint"], json!({"Spec": {}}));
}

#[test]
fn an_image_has_the_shape_that_clients_know() {
    let image = shoal_wire::image::Image { id: "sha256:00".into(), os: "linux".into(), ..Default::default() };
    let shown = shoal_wire::image_body::inspect(&image, "overlay2", shoal_wire::version::MAX);
    serde_json::from_value::<bollard_stubs::models::ImageInspect>(shown).unwrap();
    let listed = shoal_wire::image_body::summary(&image, shoal_wire::version::MAX);
    assert!(listed.get("VirtualSize").is_none());
    serde_json::from_value::<bollard_stubs::models::ImageSummary>(listed).unwrap();
    let old = shoal_wire::image_body::summary(&image, shoal_wire::ApiVersion::minor(43));
    assert_eq!(old["VirtualSize"], 0);
}
