//! The state as it will be when the plan has been carried out. Every phase reads the draft, so that it sees what the
//! phases before it decided, and every change is tried on it at once, so that a plan cannot contradict itself.

use crate::ids::random_u128;
use crate::plan::{Plan, Report};
use rand::RngCore;
use shoal_model::{TaskId, Timestamp};
use shoal_store::{Change, State, try_change};

pub(crate) struct Draft<'a> {
    state: State,
    index: u64,
    now: Timestamp,
    rng: &'a mut dyn RngCore,
    plan: Plan,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(state: &State, now: Timestamp, rng: &'a mut dyn RngCore) -> Self {
        Self { state: state.clone(), index: state.index() + 1, now, rng, plan: Plan::default() }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn rng(&mut self) -> &mut dyn RngCore {
        self.rng
    }

    pub(crate) fn new_task_id(&mut self) -> TaskId {
        TaskId::from_random(random_u128(self.rng))
    }

    /// Makes a change; false when the state refuses it, which the plan then reports.
    pub(crate) fn make(&mut self, change: Change) -> bool {
        if self.is_made(&change) {
            return true;
        }
        match try_change(&mut self.state, self.index, self.now, &change) {
            Ok(()) => {
                self.plan.changes.push(change);
                true
            }
            Err(rejected) => {
                self.plan.report.push(Report::NotPossible(rejected));
                false
            }
        }
    }

    /// Phases say what should be, not what is new; a plan that repeats what is would never come to rest.
    fn is_made(&self, change: &Change) -> bool {
        match change {
            Change::SetDesired { id, to } => self.state.tasks().get(id).is_some_and(|t| t.desired == *to),
            _ => false,
        }
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.plan.report.push(report);
    }

    /// Something becomes due at `at`.
    pub(crate) fn look_again(&mut self, at: Timestamp) {
        let earliest = self.plan.next.map_or(at, |next| next.min(at));
        self.plan.next = Some(earliest);
    }

    pub(crate) fn into_plan(mut self) -> Plan {
        if !self.plan.changes.is_empty() {
            self.plan.changes.insert(0, Change::Plan { base: self.index - 1 });
        }
        self.plan
    }
}
