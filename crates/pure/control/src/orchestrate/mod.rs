//! Which tasks there should be: made, replaced, updated, given up.

mod dirty;
mod global;
mod job;
mod new_task;
mod replicated;
mod restart;
mod slot;
mod tend;
mod update;

pub use dirty::is_up_to_date;

use crate::draft::Draft;

/// Tasks made in one pass at most: a batch is one entry of the log, and travels whole.
const NEW_TASKS_MAX: usize = 1000;

pub(crate) fn orchestrate(draft: &mut Draft<'_>) {
    let services: Vec<_> = draft.state().services().values().cloned().collect();
    let mut budget = Budget { left: NEW_TASKS_MAX };
    for service in services {
        if service.spec.is_job() {
            job::reconcile(draft, &service, &mut budget);
        } else if service.spec.is_global() {
            global::reconcile(draft, &service, &mut budget);
        } else {
            replicated::reconcile(draft, &service, &mut budget);
        }
    }
}

/// How many tasks may still be made in this pass.
struct Budget {
    left: usize,
}

impl Budget {
    /// Takes one; with none left the next pass is due at once.
    fn take(&mut self, draft: &mut Draft<'_>) -> bool {
        if self.left == 0 {
            draft.look_again(draft.now());
            return false;
        }
        self.left -= 1;
        true
    }

    fn give_back(&mut self) {
        self.left += 1;
    }
}
