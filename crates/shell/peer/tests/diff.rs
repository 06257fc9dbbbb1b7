//! Differences of assignments lead where they should, whatever the two assignments are.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use proptest::collection::btree_map;
use proptest::prelude::*;
use shoal_model::assignment::{
    NetworkAssignment, NetworkEndpoint, ServiceOnNetwork, TaskAssignment, TaskOnNetwork,
};
use shoal_model::network::NetworkSpec;
use shoal_model::node::NodeAttachment;
use shoal_model::object::DataSpec;
use shoal_model::spec::TaskSpec;
use shoal_model::{
    Assignment, Config, ConfigId, Mac, Meta, Network, NetworkId, NodeId, Secret, SecretId, ServiceId, TaskId,
    TaskState, Timestamp,
};
use shoal_peer::{AssignmentDiff, AssignmentFeed, ManagerMessage};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Few keys, so that two assignments share some of them.
const KEYS: std::ops::Range<u128> = 0..6;
const VALUES: std::ops::Range<u8> = 0..3;

fn address(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn task(id: u128, n: u8) -> TaskAssignment {
    TaskAssignment {
        id: TaskId::from_random(id),
        service: ServiceId::from_random(u128::from(n)),
        service_name: format!("service-{n}"),
        service_labels: BTreeMap::new(),
        registry_auth: None,
        slot: u64::from(n),
        spec: TaskSpec::default(),
        desired: TaskState::Running,
        known: TaskState::Assigned,
        attachments: Vec::new(),
        host_ports: Vec::new(),
        start_after: Timestamp(0),
        container_name: format!("container-{n}"),
        withdrawn: false,
    }
}

fn endpoint(n: u8) -> NetworkEndpoint {
    NetworkEndpoint {
        addresses: vec![address(n)],
        mac: mac(n),
        node: NodeId::from_random(u128::from(n)),
        tunnel: address(n + 100),
    }
}

fn task_on_network(n: u8) -> TaskOnNetwork {
    TaskOnNetwork {
        name: format!("task-{n}"),
        container_name: format!("container-{n}"),
        addresses: vec![address(n)],
        mac: mac(n),
        node: NodeId::from_random(u128::from(n)),
        aliases: vec![format!("alias-{n}")],
        weight: u32::from(n),
        connections: u64::from(n / 2),
    }
}

fn service(n: u8, tasks: BTreeMap<TaskId, TaskOnNetwork>) -> ServiceOnNetwork {
    ServiceOnNetwork {
        name: format!("service-{n}"),
        labels: BTreeMap::new(),
        vips: vec![address(n)],
        ports: Vec::new(),
        tasks,
    }
}

fn tasks_on_network() -> impl Strategy<Value = BTreeMap<TaskId, TaskOnNetwork>> {
    btree_map(KEYS.prop_map(TaskId::from_random), VALUES.prop_map(task_on_network), 0..3)
}

fn network() -> impl Strategy<Value = NetworkAssignment> {
    let services = btree_map(
        KEYS.prop_map(ServiceId::from_random),
        (VALUES, tasks_on_network()).prop_map(|(n, tasks)| service(n, tasks)),
        0..4,
    );
    let endpoints = btree_map(KEYS.prop_map(|n| format!("holder-{n}")), VALUES.prop_map(endpoint), 0..5);
    let peers = btree_map(KEYS.prop_map(NodeId::from_random), VALUES.prop_map(address), 0..4);
    (VALUES, proptest::option::of(VALUES), endpoints, services, peers).prop_map(
        |(n, own, endpoints, services, peers)| NetworkAssignment {
            network: Network {
                id: NetworkId::from_random(1),
                meta: Meta::default(),
                spec: NetworkSpec { name: format!("network-{n}"), ..NetworkSpec::default() },
                subnets: Vec::new(),
                vni: 4096 + u32::from(n),
            },
            data_path_port: 4789,
            own: own.map(|n| NodeAttachment { addresses: vec!["10.0.0.2/24".parse().unwrap()], mac: mac(n) }),
            endpoints,
            services,
            peers,
        },
    )
}

fn data(n: u8) -> DataSpec {
    DataSpec { name: format!("data-{n}"), data: vec![n; 3], ..DataSpec::default() }
}

fn assignment() -> impl Strategy<Value = Assignment> {
    let tasks = btree_map(KEYS, VALUES, 0..5);
    let secrets = btree_map(KEYS, VALUES, 0..3);
    let configs = btree_map(KEYS, VALUES, 0..3);
    let networks = btree_map(KEYS.prop_map(NetworkId::from_random), network(), 0..4);
    (0..4_u64, tasks, networks, secrets, configs).prop_map(|(version, tasks, networks, secrets, configs)| {
        let secret = |(id, n): (u128, u8)| {
            let id = SecretId::from_random(id);
            (id.clone(), Secret { id, meta: Meta::default(), spec: data(n) })
        };
        let config = |(id, n): (u128, u8)| {
            let id = ConfigId::from_random(id);
            (id.clone(), Config { id, meta: Meta::default(), spec: data(n) })
        };
        Assignment {
            version,
            tasks: tasks.into_iter().map(|(id, n)| (TaskId::from_random(id), task(id, n))).collect(),
            networks,
            secrets: secrets.into_iter().map(secret).collect(),
            configs: configs.into_iter().map(config).collect(),
        }
    })
}

/// What the other end reads.
fn sent(message: &ManagerMessage) -> ManagerMessage {
    serde_json::from_slice(&serde_json::to_vec(message).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn a_difference_leads_from_one_to_the_other(from in assignment(), to in assignment()) {
        let diff = AssignmentDiff::between(&from, &to);
        prop_assert_eq!(diff.is_empty(), from == to);
        let ManagerMessage::AssignmentDiff(diff) = sent(&ManagerMessage::AssignmentDiff(Box::new(diff))) else {
            panic!("another message");
        };
        prop_assert_eq!(diff.apply(&from), Ok(to));
    }

    #[test]
    fn a_feed_brings_a_node_through_every_change(steps in proptest::collection::vec(assignment(), 1..6)) {
        let mut feed = AssignmentFeed::default();
        let mut held = None;
        for wanted in steps {
            let wanted = Arc::new(wanted);
            match feed.next(&wanted).map(|message| sent(&message)) {
                None => {}
                Some(ManagerMessage::Assignment(whole)) => held = Some(*whole),
                Some(ManagerMessage::AssignmentDiff(diff)) => {
                    held = Some(diff.apply(held.as_ref().expect("the whole comes first")).unwrap());
                }
                Some(other) => panic!("{other:?}"),
            }
            prop_assert_eq!(held.as_ref(), Some(&*wanted));
            prop_assert!(feed.next(&wanted).is_none());
        }
    }

    #[test]
    fn a_difference_never_leads_astray(from in assignment(), to in assignment(), other in assignment()) {
        // Applied to something else it is either refused, or nothing that it touches is left as it was.
        let diff = AssignmentDiff::between(&from, &to);
        if other.version != from.version {
            prop_assert!(diff.apply(&other).is_err());
        }
    }
}
