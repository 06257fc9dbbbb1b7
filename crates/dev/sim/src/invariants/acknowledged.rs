//! A write that was acknowledged is never lost: it stays in the log where it was, and in the state of every manager that
//! got so far.

use super::Broken;
use crate::managers::Managers;
use shoal_store::Batch;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Memory {
    promised: BTreeMap<u64, Batch>,
}

impl Memory {
    pub(super) fn remember(&mut self, index: u64, batch: Batch) {
        self.promised.insert(index, batch);
    }

    pub(super) fn check(&self, managers: &Managers) -> Result<(), Broken> {
        for (index, batch) in &self.promised {
            let position = usize::try_from(*index).unwrap_or(usize::MAX) - 1;
            let kept = managers.log.get(position).is_some_and(|entry| entry.entry.batches.contains(batch));
            if !kept {
                let how = format!("the write at index {index} is gone");
                return Err(Broken { invariant: "acknowledged", how });
            }
        }
        Ok(())
    }
}
