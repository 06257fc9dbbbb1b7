//! Small objects for the tests.

use shoal_model::cluster::{ClusterSpec, JoinTokens};
use shoal_model::network::{NetworkSpec, Subnet};
use shoal_model::node::{NodeDescription, NodeSpec, NodeStatus};
use shoal_model::object::DataSpec;
use shoal_model::service::Endpoint;
use shoal_model::spec::{EndpointSpec, NetworkAttachment, PortConfig, ServiceSpec, TaskSpec};
use shoal_model::task::Attachment;
use shoal_model::{
    Cluster, ClusterId, Meta, Network, NetworkId, Node, NodeId, Secret, SecretId, Service, ServiceId, Task,
    TaskId, TaskState, TaskStatus, Timestamp, Version,
};
use std::collections::BTreeMap;

pub(crate) fn node_id(n: u8) -> NodeId {
    NodeId::from_random(u128::from(n) << 100)
}

pub(crate) fn service_id(n: u8) -> ServiceId {
    ServiceId::from_random(u128::from(n) << 100)
}

pub(crate) fn task_id(n: u8) -> TaskId {
    TaskId::from_random(u128::from(n) << 100)
}

pub(crate) fn network_id(n: u8) -> NetworkId {
    NetworkId::from_random(u128::from(n) << 100)
}

pub(crate) fn secret_id(n: u8) -> SecretId {
    SecretId::from_random(u128::from(n) << 100)
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        id: ClusterId::from_random(1),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        default_addr_pool: Vec::new(),
        subnet_size: 24,
        data_path_port: 4789,
        root_ca: String::new(),
        root_ca_key: String::new(),
        join_tokens: JoinTokens::default(),
    }
}

pub(crate) fn node(n: u8, hostname: &str) -> Node {
    Node {
        id: node_id(n),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        description: NodeDescription { hostname: hostname.to_owned(), ..NodeDescription::default() },
        status: NodeStatus::default(),
        manager_addr: None,
        raft_id: None,
        attachments: BTreeMap::new(),
        certificate_digest: String::new(),
    }
}

pub(crate) fn service(n: u8, name: &str) -> Service {
    Service {
        id: service_id(n),
        meta: Meta::default(),
        spec: ServiceSpec { name: name.to_owned(), ..ServiceSpec::default() },
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

pub(crate) fn publishing(mut service: Service, port: u16) -> Service {
    let port = PortConfig { target_port: 80, published_port: port, ..PortConfig::default() };
    service.spec.endpoint_spec = Some(EndpointSpec { mode: None, ports: vec![port] });
    service
}

pub(crate) fn attached(mut service: Service, network: &NetworkId) -> Service {
    let target = network.as_str().to_owned();
    service.spec.task_template.networks = vec![NetworkAttachment { target, ..NetworkAttachment::default() }];
    service
}

pub(crate) fn network(n: u8, name: &str) -> Network {
    Network {
        id: network_id(n),
        meta: Meta::default(),
        spec: NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() },
        subnets: Vec::new(),
        vni: 0,
    }
}

pub(crate) fn subnet() -> Subnet {
    Subnet {
        subnet: "10.0.0.0/24".parse().unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
        range: None,
        last: None,
    }
}

pub(crate) fn secret(n: u8, name: &str) -> Secret {
    let spec = DataSpec { name: name.to_owned(), data: vec![1, 2, 255], ..DataSpec::default() };
    Secret { id: secret_id(n), meta: Meta::default(), spec }
}

pub(crate) fn task(n: u8, service: u8) -> Task {
    Task {
        id: task_id(n),
        meta: Meta::default(),
        service: service_id(service),
        service_name: "web".to_owned(),
        slot: u64::from(n),
        node: None,
        spec: TaskSpec::default(),
        spec_version: Version::default(),
        desired: TaskState::Running,
        status: TaskStatus::default(),
        attachments: Vec::new(),
        host_ports: Vec::new(),
        job_iteration: None,
        start_after: Timestamp::default(),
        running_since: Timestamp::default(),
    }
}

pub(crate) fn attachment(network: u8, host: u8) -> Attachment {
    Attachment {
        network: network_id(network),
        addresses: vec![format!("10.0.0.{host}/24").parse().unwrap()],
        aliases: Vec::new(),
    }
}
