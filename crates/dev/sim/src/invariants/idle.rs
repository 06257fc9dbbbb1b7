//! When all is as it should be, the control loop finds nothing to do.

use super::Broken;
use crate::world::World;
use shoal_model::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

const NAME: &str = "idle";
/// A control loop that plans so often within the window goes in circles.
const PLANS_MAX: usize = 400;
const WINDOW: Duration = Duration::from_secs(10);

/// When the control loop found something to do.
#[derive(Debug, Default)]
pub(super) struct Memory {
    plans: VecDeque<Timestamp>,
}

impl Memory {
    pub(super) fn planned(&mut self, now: Timestamp) -> Result<(), Broken> {
        self.plans.push_back(now);
        while self.plans.front().is_some_and(|first| now.since(*first) > WINDOW) {
            self.plans.pop_front();
        }
        if self.plans.len() <= PLANS_MAX {
            return Ok(());
        }
        let how = format!("{} plans within {} s", self.plans.len(), WINDOW.as_secs());
        Err(Broken { invariant: NAME, how })
    }
}

pub(super) fn check(world: &mut World) -> Result<(), Broken> {
    let plan = world.plan();
    match plan.changes.first() {
        None => Ok(()),
        Some(first) => {
            let how = format!("{} changes at rest, the first is {first:?}", plan.changes.len());
            Err(Broken { invariant: NAME, how })
        }
    }
}
