//! `GET /containers/{id}/stats`

use crate::Backend;
use crate::call::Call;
use crate::reply::{self, Reply};
use futures::{StreamExt, stream};
use serde_json::Value;
use shoal_wire::container::{Container, ContainerState, ContainerUsage};
use shoal_wire::{ApiError, container_body};
use std::sync::Arc;
use std::time::Duration;

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn answer(call: &Call, container: Container) -> Reply {
    let reader = Reader { backend: call.backend().clone(), container, version: call.version };
    if !call.query.flag_or("stream", true) {
        let mut before = None;
        if !call.query.flag("one-shot") {
            before = Some(reader.read().await?);
            tokio::time::sleep(INTERVAL).await;
        }
        return reply::json(&reader.body(&reader.read().await?, before.as_ref()));
    }
    let shutdown = call.shared.shutdown.clone();
    let values =
        stream::unfold((reader, None), |(reader, before): (Reader, Option<ContainerUsage>)| async move {
            if before.is_some() {
                tokio::time::sleep(INTERVAL).await;
            }
            let usage = reader.read().await.ok()?;
            let body = reader.body(&usage, before.as_ref());
            Some((Ok(body), (reader, Some(usage))))
        });
    reply::json_lines(values.take_until(async move { shutdown.cancelled().await }).boxed())
}

struct Reader {
    backend: Arc<dyn Backend>,
    container: Container,
    version: shoal_wire::ApiVersion,
}

impl Reader {
    /// The counters; all zero for a container that does not run.
    async fn read(&self) -> Result<ContainerUsage, ApiError> {
        if !matches!(self.container.state, ContainerState::Running { .. }) {
            return Ok(ContainerUsage { at: self.backend.now(), ..ContainerUsage::default() });
        }
        self.backend.container_usage(&self.container.id).await
    }

    fn body(&self, usage: &ContainerUsage, before: Option<&ContainerUsage>) -> Value {
        container_body::stats(&self.container, usage, before, self.version)
    }
}
