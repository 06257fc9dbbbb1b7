//! How messages get from manager to manager: bytes out, bytes in. Whoever wires the daemon brings it.

use crate::{Member, TransportError};
use async_trait::async_trait;

/// Carries a message to another manager and its answer back. The receiving side passes the bytes to
/// [`crate::RaftLog::handle`]. Messages hold the cluster's secrets: the way must be encrypted and both ends known.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to `to` and waits for the answer. The caller sets a deadline by dropping the future.
    async fn send(&self, to: &Member, request: Vec<u8>) -> Result<Vec<u8>, TransportError>;
}
