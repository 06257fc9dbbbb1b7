//! The daemon and its machine.

use async_trait::async_trait;
use futures::stream::BoxStream;
use shoal_model::Timestamp;
use shoal_wire::ApiError;
use shoal_wire::event::Event;
use shoal_wire::system::{DiskUsage, SystemFacts};

/// The daemon and its machine.
#[async_trait]
pub trait System: Send + Sync + 'static {
    /// The present time, against which ages are told.
    fn now(&self) -> Timestamp;

    /// What does not change while the daemon runs, and a few counts.
    fn system(&self) -> SystemFacts;

    /// Bytes on disk.
    async fn disk_usage(&self) -> Result<DiskUsage, ApiError>;

    /// Events as they happen, for ever; those still remembered since `since` come first, oldest first.
    fn events(&self, since: Option<Timestamp>) -> BoxStream<'static, Event>;
}
