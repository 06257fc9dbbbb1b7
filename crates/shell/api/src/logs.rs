//! Lines that containers wrote, framed for the client.

use crate::call::Call;
use crate::reply::{self, Reply};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use shoal_wire::logs::{LogFormat, LogLine, LogQuery, LogSource, StdStream};
use shoal_wire::{ApiError, ApiVersion, stdcopy};

/// The version since which framed streams have a media type of their own.
const OWN_MEDIA_TYPE: ApiVersion = ApiVersion::minor(42);

/// The media type of a stream of output.
pub(crate) fn media_type(tty: bool, version: ApiVersion) -> &'static str {
    if tty || version < OWN_MEDIA_TYPE {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}

fn asked(call: &Call) -> Result<(LogQuery, LogFormat), ApiError> {
    let query = LogQuery {
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
        since: call.query.time("since")?,
        until: call.query.time("until")?,
        tail: call.query.text("tail").parse().ok(),
        follow: call.query.flag("follow"),
    };
    if !query.stdout && !query.stderr {
        return Err(ApiError::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let format = LogFormat { timestamps: call.query.flag("timestamps"), details: call.query.flag("details") };
    Ok((query, format))
}

/// Answer of `GET /containers/{id}/logs`.
pub(crate) async fn of_container(call: &Call, id: &str, tty: bool) -> Reply {
    let (query, format) = asked(call)?;
    let lines = call.backend().container_logs(id, query).await?;
    let bytes = lines.map(move |line| encoded(line, tty, |line| format.apply(line, "")));
    send(call, tty, bytes)
}

/// Answer of `GET /services/{id}/logs` and `GET /tasks/{id}/logs`.
pub(crate) async fn of_tasks(call: &Call, source: LogSource, tty: bool) -> Reply {
    let (query, format) = asked(call)?;
    let lines = call.backend().task_logs(source, query).await?;
    let bytes = lines.map(move |line| match line {
        Ok(told) => {
            let details = told.details();
            encoded(Ok(told.line), tty, |line| format.apply(line, &details))
        }
        Err(error) => encoded(Err(error), tty, |_| Vec::new()),
    });
    send(call, tty, bytes)
}

/// A line as it travels; an error becomes a frame of its own, since the status is already told.
fn encoded(line: Result<LogLine, ApiError>, tty: bool, format: impl Fn(&LogLine) -> Vec<u8>) -> Bytes {
    let (stream, text) = match line {
        Ok(line) => (line.stream, format(&line)),
        Err(error) => (StdStream::System, format!("Error grabbing logs: {error}\n").into_bytes()),
    };
    if tty { text.into() } else { stdcopy::frame(stream, &text).into() }
}

fn send(call: &Call, tty: bool, bytes: impl Stream<Item = Bytes> + Send + 'static) -> Reply {
    let shutdown = call.shared.shutdown.clone();
    let bytes = bytes.take_until(async move { shutdown.cancelled().await }).map(Ok);
    reply::stream(media_type(tty, call.version), bytes)
}
