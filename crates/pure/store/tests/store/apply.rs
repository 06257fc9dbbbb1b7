//! What the store lets happen, and what it refuses.

use crate::objects::*;
use shoal_model::node::NodeAttachment;
use shoal_model::service::Endpoint;
use shoal_model::spec::{PortConfig, SecretReference};
use shoal_model::task::Owner;
use shoal_model::{Mac, Service, TaskReport, TaskState, TaskStatus, Timestamp, Version};
use shoal_store::{Batch, Change, Entry, Kind, Object, Rejected, State, apply};

/// A state that is written to one batch at a time.
#[derive(Default)]
struct Log {
    state: State,
}

impl Log {
    fn write(&mut self, changes: Vec<Change>) -> Result<(), Rejected> {
        let index = self.state.index() + 1;
        let now = Timestamp(i64::try_from(index).unwrap() * 1_000);
        let entry = Entry { batches: vec![Batch { now, changes }] };
        let before = self.state.clone();
        let outcome = apply(&mut self.state, index, &entry).remove(0);
        if outcome.is_err() {
            let mut untouched = before;
            apply(&mut untouched, index, &Entry::default());
            assert_eq!(self.state, untouched, "a refused batch leaves no trace");
        }
        outcome
    }

    fn create(&mut self, object: impl Into<Object>) -> Result<(), Rejected> {
        self.write(vec![Change::Create(object.into())])
    }

    fn with(objects: Vec<Object>) -> Self {
        let mut log = Self::default();
        for object in objects {
            log.create(object).unwrap();
        }
        log
    }
}

fn report(n: u8, state: TaskState) -> Change {
    let status = TaskStatus { state, ..TaskStatus::default() };
    Change::ReportTasks { owner: Owner::Agent, reports: vec![TaskReport { id: task_id(n), status }] }
}

fn remove(key: impl Into<shoal_store::ObjectKey>) -> Change {
    Change::Remove { key: key.into(), if_version: None }
}

#[test]
fn an_update_needs_the_version_that_is_stored() {
    let mut log = Log::with(vec![service(1, "web").into()]);
    let seen = Service::clone(&log.state.services()[&service_id(1)]);
    assert_eq!(seen.meta.version, Version { index: 1 });
    let mut relabelled = seen.clone();
    relabelled.spec.labels.insert("a".to_owned(), "b".to_owned());
    log.write(vec![Change::Update(relabelled.clone().into())]).unwrap();
    let error = log.write(vec![Change::Update(relabelled.into())]).unwrap_err();
    assert_eq!(error.to_string(), "update out of sequence");
    let stored = &log.state.services()[&service_id(1)];
    assert_eq!((stored.meta.version, stored.spec_version), (Version { index: 2 }, Version { index: 2 }));
    assert_eq!((stored.meta.created_at, stored.meta.updated_at), (Timestamp(1_000), Timestamp(2_000)));
}

#[test]
fn the_specs_version_moves_with_the_spec_and_comes_back_with_it() {
    let mut log = Log::with(vec![service(1, "web").into()]);
    let update = |log: &mut Log, change: &dyn Fn(&mut Service)| {
        let mut changed = Service::clone(&log.state.services()[&service_id(1)]);
        change(&mut changed);
        log.write(vec![Change::Update(changed.into())]).unwrap();
        log.state.services()[&service_id(1)].clone()
    };
    let forced = |s: &mut Service| {
        s.previous_spec = Some(s.spec.clone());
        s.spec.task_template.force_update += 1;
    };
    let second = update(&mut log, &forced);
    assert_eq!(second.spec_version.index, 2);
    assert_eq!(second.previous_spec_version, Some(Version { index: 1 }));
    let untouched = update(&mut log, &|s| s.update_status = None);
    assert_eq!((untouched.meta.version.index, untouched.spec_version.index), (3, 2));
    let back = update(&mut log, &|s| {
        let previous = s.previous_spec.take().unwrap();
        s.previous_spec = Some(std::mem::replace(&mut s.spec, previous));
    });
    assert_eq!((back.meta.version.index, back.spec_version.index), (4, 1));
    assert_eq!(back.previous_spec_version, Some(Version { index: 2 }));
}

#[test]
fn a_name_belongs_to_one_object_of_a_kind() {
    let mut log =
        Log::with(vec![service(1, "web").into(), network(1, "web").into(), secret(1, "web").into()]);
    let said = |outcome: Result<(), Rejected>| outcome.unwrap_err().to_string();
    assert_eq!(
        said(log.create(service(2, "web"))),
        "name conflicts with an existing object: service web already exists"
    );
    assert_eq!(said(log.create(network(2, "web"))), "network with name web already exists");
    assert_eq!(said(log.create(secret(2, "web"))), "secret web already exists");
    log.create(node(1, "same")).unwrap();
    log.create(node(2, "same")).unwrap();
    log.write(vec![remove(service_id(1)), Change::Create(service(2, "web").into())]).unwrap();
}

#[test]
fn there_is_one_cluster() {
    let mut log = Log::with(vec![cluster().into()]);
    let mut second = cluster();
    second.id = shoal_model::ClusterId::from_random(2);
    assert!(matches!(log.create(second), Err(Rejected::Exists { .. })));
}

#[test]
fn a_published_port_belongs_to_one_service_and_one_protocol() {
    let mut log = Log::with(vec![publishing(service(1, "web"), 8000).into()]);
    let error = log.create(publishing(service(2, "other"), 8000)).unwrap_err();
    let id = service_id(1);
    assert_eq!(
        error.to_string(),
        format!("port '8000' is already in use by service 'web' ({id}) as an ingress port")
    );
    let mut udp = publishing(service(2, "other"), 8000);
    udp.spec.endpoint_spec.as_mut().unwrap().ports[0].protocol = Some(shoal_model::spec::Protocol::Udp);
    log.create(udp).unwrap();
    let mut host = publishing(service(3, "host"), 8000);
    host.spec.endpoint_spec.as_mut().unwrap().ports[0].publish_mode =
        Some(shoal_model::spec::PublishMode::Host);
    log.create(host).unwrap();
}

#[test]
fn a_port_given_by_the_allocator_counts_as_well() {
    let mut log = Log::with(vec![service(1, "web").into(), service(2, "other").into()]);
    let given = |id| Change::AllocateService {
        id: service_id(id),
        endpoint: Endpoint {
            ports: vec![PortConfig { published_port: 30_000, ..PortConfig::default() }],
            ..Endpoint::default()
        },
    };
    log.write(vec![given(1)]).unwrap();
    assert!(matches!(log.write(vec![given(2)]), Err(Rejected::PortInUse { port: 30_000, .. })));
}

#[test]
fn an_address_is_held_once_whoever_holds_it() {
    let mut log = Log::with(vec![
        network(1, "net").into(),
        service(1, "web").into(),
        node(1, "a").into(),
        task(1, 1).into(),
        task(2, 1).into(),
    ]);
    log.write(vec![Change::AllocateNetwork { id: network_id(1), subnets: vec![subnet()], vni: 4096 }])
        .unwrap();
    let allocate = |n, host| Change::AllocateTask {
        id: task_id(n),
        attachments: vec![attachment(1, host)],
        host_ports: Vec::new(),
    };
    let attach = |host: u8| Change::AttachNode {
        id: node_id(1),
        network: network_id(1),
        attachment: Some(NodeAttachment {
            addresses: vec![format!("10.0.0.{host}/24").parse().unwrap()],
            mac: Mac::default(),
        }),
    };
    assert!(matches!(log.write(vec![allocate(1, 1)]), Err(Rejected::AddressInUse { .. })), "the gateway's");
    log.write(vec![allocate(1, 2)]).unwrap();
    assert!(matches!(log.write(vec![allocate(2, 2)]), Err(Rejected::AddressInUse { .. })));
    assert!(matches!(log.write(vec![attach(2)]), Err(Rejected::AddressInUse { .. })));
    log.write(vec![attach(3), allocate(2, 4)]).unwrap();
    let held: Vec<_> = log.state.addresses_held(&network_id(1)).map(|(a, _)| a.to_string()).collect();
    assert_eq!(held, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
}

#[test]
fn a_task_that_has_ended_lets_go_of_its_addresses() {
    let mut log = Log::with(vec![service(1, "web").into(), task(1, 1).into(), task(2, 1).into()]);
    let allocate = |n| Change::AllocateTask {
        id: task_id(n),
        attachments: vec![attachment(1, 9)],
        host_ports: Vec::new(),
    };
    log.write(vec![allocate(1)]).unwrap();
    assert!(log.write(vec![allocate(2)]).is_err());
    let end = Change::MoveTask {
        id: task_id(1),
        owner: Owner::Orchestrator,
        to: TaskState::Shutdown,
        message: String::new(),
        err: String::new(),
    };
    log.write(vec![end]).unwrap();
    assert_eq!(log.state.tasks()[&task_id(1)].attachments.len(), 1, "it remembers them");
    log.write(vec![allocate(2)]).unwrap();
}

#[test]
fn vnis_and_consensus_numbers_are_unique() {
    let mut log = Log::with(vec![network(1, "a").into(), network(2, "b").into()]);
    let vni = |n| Change::AllocateNetwork { id: network_id(n), subnets: Vec::new(), vni: 4096 };
    log.write(vec![vni(1)]).unwrap();
    assert!(matches!(log.write(vec![vni(2)]), Err(Rejected::VniInUse { vni: 4096, .. })));
    let manager = |n| {
        let mut node = node(n, "m");
        node.raft_id = Some(7);
        node
    };
    log.create(manager(1)).unwrap();
    assert!(matches!(log.create(manager(2)), Err(Rejected::RaftIdInUse { raft_id: 7, .. })));
}

#[test]
fn what_is_referred_to_must_be_there_and_stay() {
    let mut log = Log::with(vec![network(1, "net").into(), secret(1, "key").into()]);
    let mut web = attached(service(1, "web"), &network_id(1));
    web.spec.task_template.container_spec = Some(shoal_model::spec::ContainerSpec {
        secrets: vec![SecretReference { secret_id: secret_id(1).to_string(), ..SecretReference::default() }],
        ..Default::default()
    });
    assert!(matches!(log.create(attached(service(2, "x"), &network_id(9))), Err(Rejected::NotFound { .. })));
    assert!(matches!(log.create(task(1, 9)), Err(Rejected::NotFound { .. })));
    log.create(web).unwrap();
    for key in [shoal_store::ObjectKey::from(network_id(1)), secret_id(1).into()] {
        assert!(matches!(log.write(vec![remove(key)]), Err(Rejected::InUse { .. })));
    }
    log.write(vec![remove(service_id(1)), remove(network_id(1)), remove(secret_id(1))]).unwrap();
}

#[test]
fn a_removal_can_insist_on_the_version() {
    let mut log = Log::with(vec![network(1, "net").into()]);
    let at = |index| Change::Remove { key: network_id(1).into(), if_version: Some(Version { index }) };
    assert!(matches!(log.write(vec![at(7)]), Err(Rejected::OutOfSequence { .. })));
    log.write(vec![at(1)]).unwrap();
    assert!(matches!(log.write(vec![at(1)]), Err(Rejected::NotFound { .. })));
}

fn assigned() -> Log {
    let mut log = Log::with(vec![node(1, "a").into(), service(1, "web").into(), task(1, 1).into()]);
    log.write(vec![
        Change::AllocateTask { id: task_id(1), attachments: Vec::new(), host_ports: Vec::new() },
        Change::AssignTask { id: task_id(1), node: node_id(1), message: "chosen".to_owned() },
    ])
    .unwrap();
    log
}

#[test]
fn a_task_is_found_by_its_node_and_its_service() {
    let mut log = assigned();
    assert_eq!(log.state.tasks_of_node(&node_id(1)).count(), 1);
    assert_eq!(log.state.tasks_of_service(&service_id(1)).count(), 1);
    log.write(vec![remove(task_id(1))]).unwrap();
    assert_eq!(log.state.tasks_of_node(&node_id(1)).count(), 0);
    assert_eq!(log.state.services_with_tasks().count(), 0);
}

#[test]
fn reports_move_a_task_forward_only_and_by_the_logs_clock() {
    let mut log = assigned();
    let state = |log: &Log| log.state.tasks()[&task_id(1)].status.state;
    log.write(vec![report(1, TaskState::Running)]).unwrap();
    let task = log.state.tasks()[&task_id(1)].clone();
    assert_eq!(task.status.state, TaskState::Running);
    assert_eq!((task.status.timestamp, task.running_since), (Timestamp(5_000), Timestamp(5_000)));
    log.write(vec![report(1, TaskState::Preparing), report(2, TaskState::Running)]).unwrap();
    assert_eq!(state(&log), TaskState::Running);
    log.write(vec![report(1, TaskState::Running)]).unwrap();
    assert_eq!(log.state.tasks()[&task_id(1)].meta.version, task.meta.version, "nothing new");
    log.write(vec![report(1, TaskState::Failed)]).unwrap();
    log.write(vec![report(1, TaskState::Complete)]).unwrap();
    assert_eq!(state(&log), TaskState::Failed);
}

#[test]
fn each_owner_makes_its_own_moves() {
    let mut log = assigned();
    let to = |owner, to| Change::MoveTask {
        id: task_id(1),
        owner,
        to,
        message: String::new(),
        err: "why".to_owned(),
    };
    for (owner, state) in [
        (Owner::Scheduler, TaskState::Running),
        (Owner::Orchestrator, TaskState::Shutdown),
        (Owner::Agent, TaskState::Pending),
    ] {
        let outcome = log.write(vec![to(owner, state)]);
        assert!(matches!(outcome, Err(Rejected::BadTransition { .. })), "{owner:?} {state:?}");
    }
    log.write(vec![to(Owner::Orchestrator, TaskState::Orphaned)]).unwrap();
}

#[test]
fn a_desired_state_only_moves_forward() {
    let mut log = assigned();
    let desired = |to| Change::SetDesired { id: task_id(1), to };
    log.write(vec![desired(TaskState::Shutdown)]).unwrap();
    let version = log.state.tasks()[&task_id(1)].meta.version;
    log.write(vec![desired(TaskState::Shutdown)]).unwrap();
    assert_eq!(log.state.tasks()[&task_id(1)].meta.version, version);
    assert!(matches!(log.write(vec![desired(TaskState::Running)]), Err(Rejected::DesiredBackwards { .. })));
}

#[test]
fn a_batch_is_made_whole_or_not_at_all() {
    let mut log = Log::with(vec![service(1, "web").into()]);
    let good = || Change::Create(service(2, "other").into());
    let bad = Change::Create(service(3, "web").into());
    let outcome = log.write(vec![good(), remove(service_id(1)), Change::Create(network(1, "n").into()), bad]);
    outcome.unwrap();
    let bad = Change::Create(service(4, "other").into());
    let outcome = log.write(vec![Change::Create(network(2, "m").into()), remove(network_id(1)), bad]);
    assert!(matches!(outcome, Err(Rejected::NameConflict { kind: Kind::Service, .. })));
    assert_eq!(log.state.networks().keys().collect::<Vec<_>>(), [&network_id(1)]);
}

#[test]
fn batches_of_one_entry_succeed_or_fail_on_their_own() {
    let mut state = State::default();
    let batch = |object: Object| Batch { now: Timestamp(1), changes: vec![Change::Create(object)] };
    let entry = Entry {
        batches: vec![
            batch(service(1, "web").into()),
            batch(service(2, "web").into()),
            batch(service(3, "other").into()),
        ],
    };
    let outcomes = apply(&mut state, 1, &entry);
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((state.services().len(), state.index()), (2, 1));
}

#[test]
fn a_status_of_an_update_is_not_taken_for_a_newer_spec() {
    let mut log = Log::with(vec![service(1, "web").into()]);
    let status = |index| Change::SetUpdateStatus {
        id: service_id(1),
        if_spec_version: Version { index },
        status: None,
    };
    log.write(vec![status(1)]).unwrap();
    assert!(matches!(log.write(vec![status(9)]), Err(Rejected::OutOfSequence { .. })));
}

#[test]
fn a_plan_is_refused_when_another_has_been_applied_since_it_was_made() {
    let mut log = Log::with(vec![service(1, "web").into()]);
    let plan = |base| {
        vec![
            Change::Plan { base },
            Change::SetUpdateStatus {
                id: service_id(1),
                if_spec_version: Version { index: 1 },
                status: None,
            },
        ]
    };
    log.write(plan(1)).unwrap();
    let error = log.write(plan(1)).unwrap_err();
    assert_eq!(error, Rejected::Overtaken { base: 1, by: 2 });
    log.write(plan(3)).unwrap();
    let refused = log.write(vec![Change::Plan { base: 4 }, remove(network_id(9))]);
    assert!(matches!(refused, Err(Rejected::NotFound { .. })));
    log.write(plan(4)).unwrap();
}

#[test]
fn writing_what_is_there_is_no_write() {
    let mut log = Log::with(vec![node(1, "a").into(), network(1, "net").into(), service(1, "web").into()]);
    let version = |log: &Log, key: shoal_store::ObjectKey| log.state.get(&key).unwrap().meta().version;
    let same_node = Change::ReportNode { id: node_id(1), description: None, status: None };
    let same_network = Change::AllocateNetwork { id: network_id(1), subnets: Vec::new(), vni: 0 };
    let same_service = Change::AllocateService { id: service_id(1), endpoint: Endpoint::default() };
    log.write(vec![same_node, same_network, same_service]).unwrap();
    assert_eq!(version(&log, node_id(1).into()).index, 1);
    assert_eq!(version(&log, network_id(1).into()).index, 2);
    assert_eq!(version(&log, service_id(1).into()).index, 3);
}
