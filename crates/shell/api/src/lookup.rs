//! Errors of look-ups in the replicated state.

use shoal_store::LookupError;
use shoal_wire::ApiError;

/// Docker's statuses for them: 404 for nothing, 400 for several.
pub(crate) fn failed(error: &LookupError) -> ApiError {
    match error {
        LookupError::NotFound { .. } => ApiError::not_found(error.to_string()),
        LookupError::Ambiguous { .. } => ApiError::bad_request(error.to_string()),
    }
}
