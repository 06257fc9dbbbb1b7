//! The one place of this crate that reads the clock.

use shoal_model::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time of day.
pub(crate) fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX))
}
