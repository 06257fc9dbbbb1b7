//! How long to wait before trying again.

use rand::Rng;
use std::time::Duration;

/// Waits that double up to a limit, each shortened at random by up to a half so that nodes do not all come at once.
pub(crate) struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, next: first }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The time to wait now.
    pub(crate) fn delay(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.limit);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_again_after_a_success() {
        let (first, limit) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, limit);
        let waits: Vec<_> = (0..20).map(|_| backoff.delay()).collect();
        assert!(waits[0] <= first && waits[0] >= first / 2);
        assert!(waits[19] <= limit && waits[19] >= limit / 2);
        backoff.reset();
        assert!(backoff.delay() <= first);
    }
}
