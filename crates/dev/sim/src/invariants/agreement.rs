//! Managers that have applied as much of the log hold the same state.

use super::Broken;
use crate::managers::Managers;
use shoal_store::State;
use std::collections::BTreeMap;

/// States remembered, for managers that lag behind.
const REMEMBERED: usize = 64;

/// Comparing whole states is slow; a difference does not go away by itself.
const COMPARED_EVERY: u64 = 16;

#[derive(Debug, Default)]
pub(super) struct Memory {
    states: BTreeMap<u64, State>,
}

impl Memory {
    pub(super) fn check(&mut self, managers: &Managers) -> Result<(), Broken> {
        for manager in &managers.all {
            let index = manager.state.index();
            if !index.is_multiple_of(COMPARED_EVERY) {
                continue;
            }
            let first = self.states.entry(index).or_insert_with(|| manager.state.clone());
            if *first != manager.state {
                let how = format!("two managers differ at index {index}");
                return Err(Broken { invariant: "agreement", how });
            }
        }
        while self.states.len() > REMEMBERED {
            self.states.pop_first();
        }
        Ok(())
    }
}
