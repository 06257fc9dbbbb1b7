//! The store against a naive model, under arbitrary changes.

use crate::objects::*;
use proptest::prelude::*;
use shoal_model::task::{Owner, may_move};
use shoal_model::{NetworkId, Task, TaskReport, TaskState, TaskStatus, Timestamp, Version};
use shoal_store::{Batch, Change, Entry, Object, ObjectKey, State, apply};
use std::collections::{BTreeMap, BTreeSet};

const STATES: [TaskState; 13] = [
    TaskState::New,
    TaskState::Pending,
    TaskState::Assigned,
    TaskState::Accepted,
    TaskState::Preparing,
    TaskState::Ready,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Complete,
    TaskState::Shutdown,
    TaskState::Failed,
    TaskState::Rejected,
    TaskState::Orphaned,
];

fn task_state() -> impl Strategy<Value = TaskState> {
    prop::sample::select(STATES.to_vec())
}

fn object() -> impl Strategy<Value = Object> {
    let small = 0..4_u8;
    prop_oneof![
        (small.clone(), 0..3_u16, any::<bool>()).prop_map(|(n, port, attach)| {
            let mut service = service(n, &format!("s{}", n % 3));
            if port > 0 {
                service = publishing(service, 8000 + port);
            }
            if attach { attached(service, &network_id(n)).into() } else { service.into() }
        }),
        small.clone().prop_map(|n| network(n, &format!("n{}", n % 3)).into()),
        small.clone().prop_map(|n| node(n, "host").into()),
        small.clone().prop_map(|n| secret(n, &format!("k{}", n % 3)).into()),
        (small, 0..4_u8).prop_map(|(n, of)| task(n, of).into()),
    ]
}

fn key() -> impl Strategy<Value = ObjectKey> {
    (0..4_u8, 0..5_u8).prop_map(|(n, kind)| match kind {
        0 => service_id(n).into(),
        1 => network_id(n).into(),
        2 => node_id(n).into(),
        3 => secret_id(n).into(),
        _ => task_id(n).into(),
    })
}

fn change() -> impl Strategy<Value = Change> {
    let id = 0..4_u8;
    let owner =
        prop::sample::select(vec![Owner::Allocator, Owner::Scheduler, Owner::Agent, Owner::Orchestrator]);
    prop_oneof![
        4 => object().prop_map(Change::Create),
        2 => (object(), 0..30_u64).prop_map(|(object, index)| Change::Update(versioned(object, index))),
        1 => key().prop_map(|key| Change::Remove { key, if_version: None }),
        3 => (id.clone(), owner.clone(), task_state()).prop_map(|(n, owner, state)| {
            let status = TaskStatus { state, ..TaskStatus::default() };
            Change::ReportTasks { owner, reports: vec![TaskReport { id: task_id(n), status }] }
        }),
        1 => (id.clone(), owner, task_state()).prop_map(|(n, owner, to)| Change::MoveTask {
            id: task_id(n),
            owner,
            to,
            message: String::new(),
            err: String::new(),
        }),
        2 => (id.clone(), task_state()).prop_map(|(n, to)| Change::SetDesired { id: task_id(n), to }),
        3 => (id.clone(), 0..3_u8, 1..6_u8).prop_map(|(n, net, host)| Change::AllocateTask {
            id: task_id(n),
            attachments: vec![attachment(net, host)],
            host_ports: Vec::new(),
        }),
        2 => (id.clone(), id.clone()).prop_map(|(n, node)| Change::AssignTask {
            id: task_id(n),
            node: node_id(node),
            message: String::new(),
        }),
        1 => (id, 4096..4099_u32).prop_map(|(n, vni)| Change::AllocateNetwork {
            id: network_id(n),
            subnets: vec![subnet()],
            vni,
        }),
    ]
}

fn versioned(object: Object, index: u64) -> Object {
    let version = Version { index };
    match object {
        Object::Service(mut o) => {
            std::sync::Arc::make_mut(&mut o).meta.version = version;
            Object::Service(o)
        }
        Object::Task(mut o) => {
            std::sync::Arc::make_mut(&mut o).meta.version = version;
            Object::Task(o)
        }
        other => other,
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let batch =
        prop::collection::vec(change(), 1..4).prop_map(|changes| Batch { now: Timestamp(5), changes });
    let entry = prop::collection::vec(batch, 1..3).prop_map(|batches| Entry { batches });
    prop::collection::vec(entry, 1..30)
}

/// What the indexes must say, computed the slow way.
fn check_indexes(state: &State) {
    for service in 0..4 {
        let id = service_id(service);
        let slow: Vec<_> = state.tasks().values().filter(|t| t.service == id).collect();
        assert_eq!(state.tasks_of_service(&id).collect::<Vec<_>>(), slow);
        let id = node_id(service);
        let slow: Vec<_> = state.tasks().values().filter(|t| t.node.as_ref() == Some(&id)).collect();
        assert_eq!(state.tasks_of_node(&id).collect::<Vec<_>>(), slow);
    }
}

/// What may be held once only, found the slow way.
fn check_unique(state: &State) {
    let distinct = |names: Vec<&str>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    assert!(distinct(state.services().values().map(|s| s.spec.name.as_str()).collect()));
    assert!(distinct(state.networks().values().map(|s| s.spec.name.as_str()).collect()));
    assert!(distinct(state.secrets().values().map(|s| s.spec.name.as_str()).collect()));
    let vnis: Vec<_> = state.networks().values().map(|n| n.vni).filter(|vni| *vni != 0).collect();
    assert_eq!(vnis.iter().collect::<BTreeSet<_>>().len(), vnis.len());
    let ports: Vec<_> = state.services().values().filter_map(|s| s.spec.endpoint_spec.clone()).collect();
    let ports: Vec<_> = ports.iter().flat_map(|e| &e.ports).map(|p| p.published_port).collect();
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
    let mut held: BTreeMap<(NetworkId, String), usize> = BTreeMap::new();
    for task in state.tasks().values().filter(|task| !task.status.state.is_terminal()) {
        for attachment in &task.attachments {
            let key = (attachment.network.clone(), attachment.addresses[0].addr().to_string());
            *held.entry(key).or_default() += 1;
        }
    }
    assert!(held.values().all(|count| *count == 1), "{held:?}");
}

fn reachable(from: TaskState, to: TaskState) -> bool {
    let owners = [Owner::Allocator, Owner::Scheduler, Owner::Agent, Owner::Orchestrator];
    let step = |a, b| owners.iter().any(|owner| may_move(*owner, a, b));
    let mut seen = BTreeSet::from([from]);
    loop {
        let before = seen.len();
        let next: Vec<_> = STATES.into_iter().filter(|b| seen.iter().any(|a| step(*a, *b))).collect();
        seen.extend(next);
        if seen.len() == before {
            return seen.contains(&to);
        }
    }
}

fn forward(before: &Task, after: &Task) {
    assert!(after.desired >= before.desired, "desired state went back");
    let (from, to) = (before.status.state, after.status.state);
    assert!(reachable(from, to), "{from:?} became {to:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_applied_the_state_stays_sound(entries in entries()) {
        let mut state = State::default();
        for (nth, entry) in entries.iter().enumerate() {
            let index = u64::try_from(nth).unwrap() + 1;
            let before = state.clone();
            apply(&mut state, index, entry);
            check_indexes(&state);
            check_unique(&state);
            for (id, task) in before.tasks() {
                let same = state.tasks().get(id).filter(|t| t.meta.created_at == task.meta.created_at);
                // A task that was removed and made again within one entry is another task.
                if let Some(after) = same.filter(|_| !recreates(entry, id)) {
                    forward(task, after);
                }
            }
            for object in state.objects() {
                prop_assert!(object.meta().version.index <= index);
            }
        }
    }

    #[test]
    fn a_refused_batch_changes_nothing(entries in entries()) {
        let mut state = State::default();
        let mut index = 0;
        for batch in entries.iter().flat_map(|entry| &entry.batches) {
            index += 1;
            let mut untouched = state.clone();
            let outcome = apply(&mut state, index, &Entry { batches: vec![batch.clone()] });
            if outcome[0].is_err() {
                apply(&mut untouched, index, &Entry::default());
                prop_assert_eq!(state.digest(), untouched.digest());
                prop_assert_eq!(&state, &untouched, "indexes too");
            }
        }
    }

    #[test]
    fn a_snapshot_is_the_state(entries in entries()) {
        let mut state = State::default();
        for (nth, entry) in entries.iter().enumerate() {
            apply(&mut state, u64::try_from(nth).unwrap() + 1, entry);
        }
        let restored = State::restore(&state.snapshot()).unwrap();
        prop_assert_eq!(&restored, &state);
        prop_assert_eq!(restored.digest(), state.digest());
    }

    #[test]
    fn the_log_survives_its_own_encoding(entries in entries()) {
        let text = serde_json::to_string(&entries).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).unwrap(), entries);
    }

    #[test]
    fn the_same_log_gives_the_same_state(entries in entries()) {
        let run = || {
            let mut state = State::default();
            let outcomes: Vec<_> = entries
                .iter()
                .zip(1..)
                .map(|(entry, index)| apply(&mut state, index, entry))
                .collect();
            (outcomes, state.digest())
        };
        prop_assert_eq!(run(), run());
    }
}

fn recreates(entry: &Entry, id: &shoal_model::TaskId) -> bool {
    let key = ObjectKey::from(id.clone());
    let mut changes = entry.batches.iter().flat_map(|batch| &batch.changes);
    changes.any(|change| matches!(change, Change::Create(object) if object.key() == key))
}
