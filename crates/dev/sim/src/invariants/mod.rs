//! What must always hold, one file each. Safety is checked with every commit, plan and assignment; what must hold in the
//! end is checked when the faults are over and time has passed.

mod acknowledged;
mod agreement;
mod converged;
mod drained;
mod forward;
mod idle;
mod let_go;
mod one_owner;
mod possible;
mod ring;
mod unique;

use crate::host::Host;
use crate::managers::Managers;
use crate::world::World;
use shoal_control::{Liveness, Plan};
use shoal_model::{Assignment, NodeId, TaskId, Timestamp};
use shoal_store::{Batch, State};
use std::collections::BTreeMap;

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which: the name of its file.
    pub invariant: &'static str,
    /// How it showed.
    pub how: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} does not hold: {}", self.invariant, self.how)
    }
}

impl std::error::Error for Broken {}

/// What the invariants remember from one look to the next.
#[derive(Debug, Default)]
pub struct Watch {
    acknowledged: acknowledged::Memory,
    agreement: agreement::Memory,
    idle: idle::Memory,
    let_go: let_go::Memory,
    seen: State,
}

impl Watch {
    /// A user was told that a batch is in the log at `index`.
    pub fn acknowledged(&mut self, index: u64, batch: Batch) {
        self.acknowledged.remember(index, batch);
    }

    /// Something was committed.
    pub fn committed(&mut self, managers: &Managers) -> Result<(), Broken> {
        let Some(leader) = managers.leader() else { return Ok(()) };
        unique::check_state(&leader.state)?;
        self.acknowledged.check(managers)?;
        self.agreement.check(managers)?;
        forward::check(&self.seen, &leader.state)?;
        one_owner::check(managers, &self.seen, &leader.state)?;
        self.seen = leader.state.clone();
        Ok(())
    }

    /// The control loop has planned.
    pub fn planned(&mut self, now: Timestamp, state: &State, plan: &Plan) -> Result<(), Broken> {
        if !plan.changes.is_empty() {
            self.idle.planned(now)?;
        }
        possible::check(plan)?;
        drained::check_plan(state, plan)
    }

    /// The leader has found tasks that are withdrawn.
    pub fn withdrawn(&mut self, now: Timestamp, state: &State, liveness: &Liveness) {
        self.let_go.withdrawn(now, state, liveness);
    }

    /// A host stops tasks because they are withdrawn.
    pub fn released(&self, tasks: &[TaskId], hosts: &BTreeMap<NodeId, Host>) -> Result<(), Broken> {
        self.let_go.check(tasks, hosts)
    }

    /// A node is told what to hold.
    pub fn assigned(
        &mut self,
        state: &State,
        liveness: &Liveness,
        node: &NodeId,
        assignment: &Assignment,
    ) -> Result<(), Broken> {
        unique::check_assignment(node, assignment)?;
        ring::check(state, liveness, assignment)
    }
}

/// What must hold when the faults are over and time has passed.
pub fn at_rest(world: &mut World) -> Result<(), Broken> {
    idle::check(world)?;
    converged::check(world)?;
    drained::check_hosts(world)?;
    ring::check_hosts(world)
}
