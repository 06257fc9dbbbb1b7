//! What the fake daemon holds.

use shoal_model::cluster::{ClusterSpec, JoinTokens};
use shoal_model::network::{NetworkSpec, Subnet};
use shoal_model::node::{
    Availability, EngineDescription, EnginePlugin, NodeDescription, NodeResources, NodeRole, NodeSpec,
    NodeState, NodeStatus,
};
use shoal_model::service::{Endpoint, VirtualIp};
use shoal_model::spec::{EndpointMode, Labels, Platform, PortConfig, Protocol, PublishMode, ServiceSpec};
use shoal_model::task::{Attachment, ContainerStatus, TaskState, TaskStatus};
use shoal_model::{Cluster, Meta, Network, Node, Service, Task, TaskId, Timestamp, Version};
use shoal_store::Object;
use shoal_wire::container::{Container, ContainerLimits, ContainerNetwork, ContainerState};
use shoal_wire::network::{LocalNetwork, NetworkEndpoint, OverlayView, endpoint_id};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const MANAGER_ID: &str = "zcaufhu09zhbssz06csk9vkoj";
pub(crate) const WORKER_ID: &str = "cy5n8m89jgy81pjbraf4iordd";
const WORKER2_ID: &str = "ic56o7kax3y3732i0o9cdswwz";
pub(crate) const SERVICE_ID: &str = "lmtwyjgql78zmcl0n05onfo6b";
const TASK_ID: &str = "j08a6lxep9lqad23vdlvrt5ff";
const INGRESS_ID: &str = "ijakqjmk06dcclaiqf9x2bjyo";
const MY_DEMO_ID: &str = "von2nfs5kgn3d0yi0n9z5lzdx";
pub(crate) const CONTAINER_ID: &str = "5545c602cf26b36995b53428afd968a8bd029b0f4de4359471c81c3ce86a7597";
pub(crate) const IMAGE_ID: &str = "sha256:d5b8766c21421966edbef40b97c6c92d5fd756907475eb84051639563e87936d";

fn cluster() -> Cluster {
    Cluster {
        id: "zkljw392fltiggz2k395zj94s".parse().unwrap(),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        default_addr_pool: vec!["10.0.0.0/8".parse().unwrap()],
        subnet_size: 24,
        data_path_port: 4789,
        root_ca: "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".into(),
        root_ca_key: "hidden".into(),
        join_tokens: JoinTokens {
            worker: "SWMTKN-1-4s4a8q5v-worker".into(),
            manager: "SWMTKN-1-4s4a8q5v-manager".into(),
        },
    }
}

fn node(id: &str, hostname: &str, addr: &str, role: NodeRole) -> Node {
    let plugin = |kind: &str, name: &str| EnginePlugin { kind: kind.into(), name: name.into() };
    Node {
        id: id.parse().unwrap(),
        meta: Meta::default(),
        spec: NodeSpec { role, availability: Availability::Active, ..NodeSpec::default() },
        description: NodeDescription {
            hostname: hostname.into(),
            platform: Platform { architecture: "x86_64".into(), os: "linux".into() },
            resources: NodeResources { nano_cpus: 2_000_000_000, memory_bytes: 8_326_922_240 },
            engine: EngineDescription {
                engine_version: "28.2.2".into(),
                labels: Labels::new(),
                plugins: vec![plugin("Network", "overlay"), plugin("Volume", "local")],
            },
            routes: Vec::new(),
        },
        status: NodeStatus { state: NodeState::Ready, addr: addr.into(), ..NodeStatus::default() },
        manager_addr: (role == NodeRole::Manager).then(|| format!("{addr}:2377")),
        raft_id: None,
        attachments: BTreeMap::new(),
        certificate_digest: String::new(),
    }
}

fn network(id: &str, name: &str, vni: u32, third: u8) -> Network {
    Network {
        id: id.parse().unwrap(),
        meta: Meta::default(),
        spec: NetworkSpec { name: name.into(), ingress: name == "ingress", ..NetworkSpec::default() },
        subnets: vec![Subnet {
            subnet: format!("10.0.{third}.0/24").parse().unwrap(),
            gateway: format!("10.0.{third}.1").parse().unwrap(),
            range: None,
            last: None,
        }],
        vni,
    }
}

fn ingress() -> Network {
    network(INGRESS_ID, "ingress", 4096, 0)
}

fn my_demo() -> Network {
    network(MY_DEMO_ID, "my-demo", 4097, 1)
}

pub(crate) fn empty_service() -> Service {
    Service {
        id: SERVICE_ID.parse().unwrap(),
        meta: Meta::default(),
        spec: ServiceSpec::default(),
        previous_spec: None,
        spec_version: Version::default(),
        previous_spec_version: None,
        endpoint: Endpoint::default(),
        update_status: None,
        job_iteration: None,
        registry_auth: None,
        job_last_execution: Timestamp::default(),
    }
}

fn service() -> Service {
    let spec = serde_json::json!({
        "Name": "whoami",
        "TaskTemplate": {
            "ContainerSpec": {"Image": "whoami:latest", "Init": false, "Isolation": "default"},
            "Networks": [{"Target": MY_DEMO_ID}],
            "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "vip", "Ports": [
            {"Protocol": "tcp", "TargetPort": 8000, "PublishedPort": 8000, "PublishMode": "ingress"},
        ]},
    });
    let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
    let vip = |network: &str, address: &str| VirtualIp {
        network: network.parse().unwrap(),
        address: address.parse().unwrap(),
    };
    Service {
        endpoint: Endpoint {
            mode: Some(EndpointMode::Vip),
            ports: spec.endpoint_spec.clone().unwrap().ports,
            virtual_ips: vec![vip(INGRESS_ID, "10.0.0.5/24"), vip(MY_DEMO_ID, "10.0.1.5/24")],
        },
        spec,
        ..empty_service()
    }
}

fn task() -> Task {
    let attachment = |network: &str, address: &str| Attachment {
        network: network.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        aliases: Vec::new(),
    };
    let service = service();
    Task {
        id: TASK_ID.parse().unwrap(),
        meta: Meta::default(),
        service: service.id,
        service_name: "whoami".into(),
        slot: 1,
        node: Some(MANAGER_ID.parse().unwrap()),
        spec: service.spec.task_template,
        spec_version: Version::default(),
        desired: TaskState::Running,
        status: TaskStatus {
            timestamp: super::NOW,
            state: TaskState::Running,
            message: "started".into(),
            err: String::new(),
            container: Some(ContainerStatus { container_id: CONTAINER_ID.into(), pid: 4957, exit_code: 0 }),
        },
        attachments: vec![attachment(INGRESS_ID, "10.0.0.10/24"), attachment(MY_DEMO_ID, "10.0.1.13/24")],
        host_ports: Vec::new(),
        job_iteration: None,
        start_after: Timestamp::default(),
        running_since: Timestamp::default(),
    }
}

/// A running task of a service.
pub(crate) fn running_task(id: TaskId, service: &Service, slot: u64) -> Task {
    Task {
        id,
        service: service.id.clone(),
        service_name: service.spec.name.clone(),
        slot,
        spec: service.spec.task_template.clone(),
        attachments: Vec::new(),
        ..task()
    }
}

/// Everything in the swarm.
pub(crate) fn all() -> Vec<Object> {
    vec![
        Object::Cluster(Arc::new(cluster())),
        Object::Node(Arc::new(node(MANAGER_ID, "swarm-manager", "192.168.50.11", NodeRole::Manager))),
        Object::Node(Arc::new(node(WORKER_ID, "swarm-worker1", "192.168.50.12", NodeRole::Worker))),
        Object::Node(Arc::new(node(WORKER2_ID, "swarm-worker2", "192.168.50.13", NodeRole::Worker))),
        Object::Network(Arc::new(ingress())),
        Object::Network(Arc::new(my_demo())),
        Object::Service(Arc::new(service())),
        Object::Task(Arc::new(task())),
    ]
}

/// The task's container.
pub(crate) fn container() -> Container {
    let on = |network: &str, address: &str| ContainerNetwork {
        network_id: network.into(),
        endpoint_id: endpoint_id(network, TASK_ID),
        addresses: vec![address.parse().unwrap()],
        mac: Some("02:42:0a:00:00:0a".parse().unwrap()),
        gateway: None,
        aliases: Vec::new(),
    };
    let started_at = Timestamp(super::NOW.0 - 2_000_000_000);
    Container {
        id: CONTAINER_ID.into(),
        name: format!("whoami.1.{TASK_ID}"),
        created: Timestamp(super::NOW.0 - 5_000_000_000),
        state: ContainerState::Running { pid: 4957, started_at },
        started_at,
        health: None,
        error: String::new(),
        image: "whoami:latest".into(),
        image_id: IMAGE_ID.into(),
        command: vec!["/whoami".into()],
        entrypoint: vec!["/whoami".into()],
        cmd: Vec::new(),
        env: vec!["PATH=/bin".into()],
        working_dir: "/".into(),
        user: String::new(),
        hostname: "5545c602cf26".into(),
        labels: Labels::from([("com.docker.swarm.task.id".to_owned(), TASK_ID.to_owned())]),
        tty: false,
        open_stdin: false,
        stop_signal: String::new(),
        ports: vec![PortConfig {
            name: String::new(),
            protocol: Some(Protocol::Tcp),
            target_port: 8000,
            published_port: 8081,
            publish_mode: Some(PublishMode::Host),
        }],
        mounts: Vec::new(),
        networks: BTreeMap::from([
            ("ingress".to_owned(), on(INGRESS_ID, "10.0.0.10/24")),
            ("my-demo".to_owned(), on(MY_DEMO_ID, "10.0.1.13/24")),
        ]),
        sandbox_key: "/run/shoal/netns/5545c602cf26".into(),
        log_path: "/var/lib/shoal/log".into(),
        resolv_conf_path: String::new(),
        hosts_path: String::new(),
        hostname_path: String::new(),
        limits: ContainerLimits::default(),
        size_rw: Some(12),
        size_root_fs: Some(5_000_012),
        exec_ids: Vec::new(),
        restart_count: 0,
    }
}

/// `bridge`, `host`, `none`, `docker_gwbridge`.
pub(crate) fn local_networks() -> Vec<LocalNetwork> {
    let network = |name: &str, driver: &str, subnet: Option<&str>| LocalNetwork {
        name: name.into(),
        id: endpoint_id("local", name),
        created: super::NOW,
        driver: driver.into(),
        subnets: subnet.map(|s| (s.parse().unwrap(), None)).into_iter().collect(),
        internal: false,
        options: BTreeMap::new(),
        labels: Labels::new(),
        containers: BTreeMap::new(),
    };
    vec![
        network("bridge", "bridge", Some("172.17.0.0/16")),
        network("host", "host", None),
        network("none", "null", None),
        network("docker_gwbridge", "bridge", Some("172.18.0.0/16")),
    ]
}

/// The ingress network as this node holds it.
pub(crate) fn overlays() -> Vec<OverlayView> {
    let sandbox = NetworkEndpoint {
        name: "ingress-endpoint".into(),
        endpoint_id: endpoint_id(INGRESS_ID, MANAGER_ID),
        mac: Some("02:42:0a:00:00:02".parse().unwrap()),
        ipv4: Some("10.0.0.2/24".parse().unwrap()),
        ipv6: None,
    };
    vec![OverlayView {
        network: ingress(),
        created: super::NOW,
        containers: BTreeMap::from([("ingress-sbox".to_owned(), sandbox)]),
        peers: vec![(MANAGER_ID[..12].to_owned(), "192.168.50.11".parse().unwrap())],
        services: BTreeMap::new(),
    }]
}
