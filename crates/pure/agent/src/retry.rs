//! How long to wait before a failed step is tried again.

use shoal_model::Timestamp;
use shoal_model::assignment::StepFailure;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When a failed step may be tried again: 1 s after its first failure, twice as long after each further one in a row,
/// 30 s at most. `None` if trying again cannot help.
pub fn not_before(failure: &StepFailure) -> Option<Timestamp> {
    if !failure.retry {
        return None;
    }
    let doublings = failure.attempts.saturating_sub(1).min(5);
    let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    Some(failure.at.plus(pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause_after(attempts: u32) -> Option<Duration> {
        let failure = StepFailure { message: "no".to_owned(), retry: true, at: Timestamp(5), attempts };
        not_before(&failure).map(|t| t.since(failure.at))
    }

    #[test]
    fn the_pause_doubles_from_one_second_to_thirty() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 4, 5, 6, 7, u32::MAX]
            .iter()
            .filter_map(|n| pause_after(*n))
            .map(|d| d.as_secs())
            .collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn a_final_failure_is_never_tried_again() {
        let failure = StepFailure { message: "no".to_owned(), retry: false, at: Timestamp(5), attempts: 1 };
        assert_eq!(not_before(&failure), None);
    }
}
