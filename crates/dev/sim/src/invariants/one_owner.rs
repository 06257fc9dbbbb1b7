//! Every move of a task is made by the one who owns the state it leaves: nodes speak as agents and of their tasks alone,
//! the control loop never speaks for a node.

use super::Broken;
use crate::managers::{Managers, Source};
use shoal_model::task::{Owner, TRANSITIONS};
use shoal_model::{TaskId, TaskState};
use shoal_store::{Change, State};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "one_owner";

pub(super) fn check(managers: &Managers, before: &State, after: &State) -> Result<(), Broken> {
    let mut speakers: BTreeMap<&TaskId, Vec<Owner>> = BTreeMap::new();
    let from = usize::try_from(before.index()).unwrap_or(usize::MAX);
    for committed in managers.log.iter().skip(from) {
        for change in committed.entry.batches.iter().flat_map(|batch| &batch.changes) {
            for (task, owner) in spoken_for(change) {
                check_speaker(committed.source, owner, task)?;
                speakers.entry(task).or_default().push(owner);
            }
        }
    }
    for (id, old) in before.tasks() {
        let Some(new) = after.tasks().get(id) else { continue };
        let owners = speakers.get(id).map(Vec::as_slice).unwrap_or_default();
        if !reachable(old.status.state, new.status.state, owners) {
            let (from, to) = (old.status.state.as_str(), new.status.state.as_str());
            let how = format!("task {} went from {from} to {to} by {owners:?}", old.name());
            return Err(Broken { invariant: NAME, how });
        }
    }
    Ok(())
}

fn spoken_for(change: &Change) -> Vec<(&TaskId, Owner)> {
    match change {
        Change::ReportTasks { owner, reports } => reports.iter().map(|r| (&r.id, *owner)).collect(),
        Change::MoveTask { id, owner, .. } => vec![(id, *owner)],
        Change::AllocateTask { id, .. } => vec![(id, Owner::Allocator)],
        Change::AssignTask { id, .. } => vec![(id, Owner::Scheduler)],
        _ => Vec::new(),
    }
}

fn check_speaker(source: Source, owner: Owner, task: &TaskId) -> Result<(), Broken> {
    let right = match source {
        Source::Node => owner == Owner::Agent,
        Source::Loop => owner != Owner::Agent,
        Source::User => false,
    };
    if right {
        return Ok(());
    }
    Err(Broken { invariant: NAME, how: format!("{source:?} speaks as {owner:?} of task {task}") })
}

fn reachable(from: TaskState, to: TaskState, owners: &[Owner]) -> bool {
    let mut seen = BTreeSet::from([from]);
    loop {
        let steps = TRANSITIONS.iter().filter(|(owner, a, _)| owners.contains(owner) && seen.contains(a));
        let next: Vec<_> = steps.map(|(_, _, b)| *b).collect();
        let before = seen.len();
        seen.extend(next);
        if seen.len() == before {
            return seen.contains(&to);
        }
    }
}
