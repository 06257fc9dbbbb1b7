//! Finding objects by what a user typed.

use crate::objects::*;
use shoal_store::{Batch, Change, Entry, Object, State, apply};

fn state() -> State {
    let mut named_as_a_prefix = service(2, "web");
    named_as_a_prefix.id = "abc0000000000000000000000".parse().unwrap();
    let mut other = service(3, "abc");
    other.id = "abd0000000000000000000000".parse().unwrap();
    let mut first = task(1, 3);
    "abc".clone_into(&mut first.service_name);
    let objects: Vec<Object> = vec![
        named_as_a_prefix.into(),
        other.into(),
        node(1, "swarm-manager").into(),
        node(2, "twin").into(),
        node(3, "twin").into(),
        first.into(),
    ];
    // The task's service is made up.
    let mut state = State::default();
    let mut changes: Vec<_> = objects.into_iter().map(Change::Create).collect();
    changes.insert(2, Change::Create(service(3, "third").into()));
    let outcome = apply(&mut state, 1, &Entry { batches: vec![Batch { changes, ..Batch::default() }] });
    assert_eq!(outcome, [Ok(())]);
    state
}

#[test]
fn the_full_id_then_the_name_then_the_beginning_of_an_id() {
    let state = state();
    let name = |text: &str| state.find_service(text).map(|s| s.spec.name.clone()).map_err(|e| e.to_string());
    assert_eq!(name("abc0000000000000000000000"), Ok("web".to_owned()));
    assert_eq!(name("abc"), Ok("abc".to_owned()), "a name before a prefix");
    assert_eq!(name("abc0"), Ok("web".to_owned()));
    assert_eq!(name("ab"), Err("service ab is ambiguous (2 matches found)".to_owned()));
    assert_eq!(name("nosuch"), Err("service nosuch not found".to_owned()));
    assert_eq!(name(""), Err("service  not found".to_owned()));
}

#[test]
fn nodes_by_hostname_and_tasks_by_the_name_of_slot_or_container() {
    let state = state();
    assert_eq!(state.find_node("swarm-manager").unwrap().id, node_id(1));
    assert_eq!(state.find_node("twin").unwrap_err().to_string(), "node twin is ambiguous (2 matches found)");
    assert_eq!(state.find_task("abc.1").unwrap().id, task_id(1));
    assert_eq!(state.find_task(&format!("abc.1.{}", task_id(1))).unwrap().id, task_id(1));
}
