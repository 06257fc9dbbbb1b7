//! Answers.
#![allow(clippy::unnecessary_wraps, reason = "handlers end in an answer or an error; these are such ends")]

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use shoal_wire::progress::Progress;
use shoal_wire::{ApiError, Status};

/// The body of an answer; breaking off with an error cuts the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, ApiError>;

/// An answer, or the error to answer with.
pub(crate) type Reply = Result<Response<Body>, ApiError>;

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// 200 with JSON.
pub(crate) fn json(body: &impl Serialize) -> Reply {
    json_with(StatusCode::OK, body)
}

/// 201 with JSON.
pub(crate) fn created(body: &impl Serialize) -> Reply {
    json_with(StatusCode::CREATED, body)
}

fn json_with(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut text = serde_json::to_vec(body).map_err(|e| ApiError::internal(e.to_string()))?;
    text.push(b'\n');
    let mut response = response(status, full(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// 200 without a body.
pub(crate) fn empty() -> Reply {
    let mut response = response(StatusCode::OK, full(Bytes::new()));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(response)
}

/// 201 without a body.
pub(crate) fn created_empty() -> Reply {
    Ok(response(StatusCode::CREATED, full(Bytes::new())))
}

/// 204.
pub(crate) fn no_content() -> Reply {
    Ok(response(StatusCode::NO_CONTENT, full(Bytes::new())))
}

/// 304.
pub(crate) fn not_modified() -> Reply {
    Ok(response(StatusCode::NOT_MODIFIED, full(Bytes::new())))
}

/// 200 with bytes that come as they come; the head is sent at once.
pub(crate) fn stream(
    content_type: &'static str,
    bytes: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static,
) -> Reply {
    let body = StreamBody::new(bytes.map_ok(Frame::data)).boxed_unsync();
    let mut response = response(StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// 200 with one JSON value a line, as they come.
pub(crate) fn json_lines(
    values: impl Stream<Item = Result<serde_json::Value, ApiError>> + Send + 'static,
) -> Reply {
    stream("application/json", values.map(|value| value.map(|v| Bytes::from(format!("{v}\n")))))
}

/// 200 with messages of a long action. An error becomes the last message, since the status is already told.
pub(crate) fn progress(messages: crate::backend::Stream<Progress>) -> Reply {
    let lines = messages.map(|message| {
        let value = match message {
            Ok(message) => serde_json::to_value(message).unwrap_or_default(),
            Err(error) => {
                serde_json::json!({"errorDetail": {"message": error.message}, "error": error.message})
            }
        };
        Ok(Bytes::from(format!("{value}\r\n")))
    });
    stream("application/json", lines)
}

/// An error as an answer.
pub(crate) fn error(error: &ApiError) -> Response<Body> {
    if error.status == Status::NotModified {
        return response(StatusCode::NOT_MODIFIED, full(Bytes::new()));
    }
    let status = StatusCode::from_u16(error.status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_with(status, &error.body()).unwrap_or_else(|_| response(status, full(Bytes::new())))
}
