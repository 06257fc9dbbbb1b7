//! One request, routed.

use crate::Backend;
use crate::dispatch::Shared;
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, BodyStream, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;
use shoal_wire::filters::Filters;
use shoal_wire::query::Query;
use shoal_wire::{ApiError, ApiVersion, Status};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The largest JSON body; a config of 1000 kB in base64 fits with room to spare.
const MAX_JSON_BYTES: usize = 4 << 20;

/// The most that is read of a body that nobody wants.
const MAX_DRAINED_BYTES: usize = 256 << 10;

/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client may take to send a JSON body.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// One request, routed.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) upgrade: Option<OnUpgrade>,
    pub(crate) parameters: Vec<(&'static str, String)>,
    pub(crate) body: SharedBody,
}

/// A request's body, until someone takes it. What nobody took is read and thrown away before the answer: a client that
/// still writes while the connection is closed would see a broken pipe instead of the answer.
#[derive(Clone)]
pub(crate) struct SharedBody(Arc<Mutex<Option<Incoming>>>);

impl SharedBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Incoming> {
        self.slot().take()
    }

    fn put_back(&self, body: Incoming) {
        *self.slot() = Some(body);
    }

    fn is_empty(&self) -> bool {
        self.slot().as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    /// Reads what is left, within bounds; Go's server does the same.
    pub(crate) async fn drain(&self) {
        let Some(body) = self.take() else { return };
        let rest = Limited::new(body, MAX_DRAINED_BYTES).collect();
        if tokio::time::timeout(DRAIN_TIMEOUT, rest).await.is_err() {
            tracing::debug!("a client did not finish its request");
        }
    }
}

impl Call {
    /// What does all the work.
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.shared.backend
    }

    /// The value of the path's placeholder.
    pub(crate) fn target(&self) -> &str {
        self.parameters.first().map_or("", |(_, value)| value.as_str())
    }

    /// The filters of a list, of these kinds only.
    pub(crate) fn filters(&self, known: &[&str]) -> Result<Filters, ApiError> {
        Filters::parse(self.query.get("filters"))?.accept(known)
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `X-Registry-Auth` as it came.
    pub(crate) fn auth_header(&self) -> Option<String> {
        self.header("x-registry-auth").filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The body as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        self.check_content_type()?;
        let bytes = self.whole_body().await?;
        Ok(shoal_wire::from_json(&bytes)?)
    }

    /// The body as JSON, or the default without a body.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        let bytes = self.whole_body().await?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        self.check_content_type()?;
        Ok(shoal_wire::from_json(&bytes)?)
    }

    fn check_content_type(&self) -> Result<(), ApiError> {
        let text = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if text.is_empty() && self.body.is_empty() {
            return Ok(());
        }
        let media_type = text.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(ApiError::bad_request(format!(
            "unsupported Content-Type header ({text}): must be 'application/json'"
        )))
    }

    async fn whole_body(&mut self) -> Result<Bytes, ApiError> {
        let Some(mut body) = self.body.take() else { return Ok(Bytes::new()) };
        let collecting = Limited::new(&mut body, MAX_JSON_BYTES).collect();
        let collected = tokio::time::timeout(BODY_TIMEOUT, collecting).await;
        self.body.put_back(body);
        match collected {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
                Status::TooLarge,
                format!("request body is larger than {} MiB", MAX_JSON_BYTES >> 20),
            )),
            Ok(Err(error)) => Err(ApiError::bad_request(format!("cannot read the request body: {error}"))),
            Err(_) => Err(ApiError::bad_request("the request body did not arrive in time")),
        }
    }

    /// The body as it arrives, of any size.
    pub(crate) fn into_bytes(self) -> crate::backend::Bytes {
        let Some(body) = self.body.take() else { return futures::stream::empty().boxed() };
        let frames = BodyStream::new(body).filter_map(|frame| async move {
            match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => {
                    Some(Err(ApiError::bad_request(format!("cannot read the request body: {error}"))))
                }
            }
        });
        frames.boxed()
    }
}
