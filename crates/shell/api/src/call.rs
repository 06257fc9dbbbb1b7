//! One request, routed.

use crate::Backend;
use crate::dispatch::Shared;
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, BodyStream, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;
use shoal_wire::filters::Filters;
use shoal_wire::query::Query;
use shoal_wire::{ApiError, ApiVersion, Status};
use std::sync::Arc;
use std::time::Duration;

/// The largest JSON body; a config of 1000 kB in base64 fits with room to spare.
const MAX_JSON_BYTES: usize = 4 << 20;

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
    pub(crate) body: Incoming,
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
        if text.is_empty() && self.body.is_end_stream() {
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
        let body = Limited::new(&mut self.body, MAX_JSON_BYTES);
        match tokio::time::timeout(BODY_TIMEOUT, body.collect()).await {
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
        let frames = BodyStream::new(self.body).filter_map(|frame| async move {
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
