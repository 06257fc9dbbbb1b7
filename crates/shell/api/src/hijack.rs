//! Connections that leave HTTP: the streams of an exec session.

use crate::backend::{ExecFrame, ExecIo};
use crate::call::Call;
use crate::logs::media_type;
use crate::reply::{self, Reply};
use bytes::Bytes;
use futures::StreamExt;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use shoal_wire::detach_keys::{Detector, Input};
use shoal_wire::stdcopy;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Bytes read from a client at once.
const READ_BYTES: usize = 32 << 10;

/// A started session and how it is framed.
pub(crate) struct Session {
    pub(crate) io: ExecIo,
    pub(crate) tty: bool,
    pub(crate) detach_keys: Vec<u8>,
    /// Pause between the head of the answer and the first output.
    pub(crate) pause: Duration,
}

/// The pause that a client needs. docker-py reads the head through a buffer that it then throws away, so output that
/// arrives together with the head is lost; the docker command reads on from the same buffer.
pub(crate) fn pause_for(agent: &str) -> Duration {
    if agent.starts_with("Docker-Client/") { Duration::ZERO } else { Duration::from_millis(30) }
}

/// Gives the connection to the session. With `Upgrade` in the request that is a 101 and raw bytes both ways; without, a
/// 200 whose body is the output (such clients cannot send input).
pub(crate) fn answer(mut call: Call, session: Session) -> Reply {
    let content_type = media_type(session.tty, call.version);
    let Some(upgrade) = call.upgrade.take() else {
        let tty = session.tty;
        drop(session.io.stdin);
        let bytes = session.io.output.map(move |frame| frame.map(|frame| framed(&frame, tty)));
        return reply::stream("application/vnd.docker.raw-stream", bytes);
    };
    let shutdown = call.shared.shutdown.clone();
    call.shared.hijacked.spawn(async move {
        match upgrade.await {
            Ok(connection) => run(connection, session, shutdown).await,
            Err(error) => tracing::debug!(%error, "an exec session's client went away"),
        }
    });
    let mut response = Response::new(reply::full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    Ok(response)
}

fn framed(frame: &ExecFrame, tty: bool) -> Bytes {
    if tty { frame.bytes.clone() } else { stdcopy::frame(frame.stream, &frame.bytes).into() }
}

async fn run(connection: Upgraded, session: Session, shutdown: CancellationToken) {
    let (reader, writer) = tokio::io::split(TokioIo::new(connection));
    tokio::select! {
        () = copy(reader, writer, session) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Copies both ways. Ends with the output or with the detach keys; the end of the input only closes the process's input.
async fn copy(mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin, session: Session) {
    let Session { io: ExecIo { stdin, mut output }, tty, detach_keys, pause } = session;
    let input = async {
        let detach = tty.then(|| Detector::new(detach_keys));
        match feed(&mut reader, stdin, detach).await {
            Ok(Fed::Detached) => {}
            Ok(Fed::Ended) | Err(_) => std::future::pending().await,
        }
    };
    let told = async {
        tokio::time::sleep(pause).await;
        while let Some(frame) = output.next().await {
            let bytes = match frame {
                Ok(frame) => framed(&frame, tty),
                Err(error) => {
                    tracing::debug!(%error, "an exec session's output broke");
                    break;
                }
            };
            writer.write_all(&bytes).await?;
            writer.flush().await?;
        }
        io::Result::Ok(())
    };
    let ended = tokio::select! {
        ended = told => ended,
        () = input => Ok(()),
    };
    if let Err(error) = ended.and(writer.shutdown().await) {
        tracing::debug!(%error, "an exec session's client went away");
    }
}

enum Fed {
    Ended,
    Detached,
}

/// Copies input until it ends. Without a process's input the bytes are dropped, so that the client never blocks.
async fn feed(
    reader: &mut (impl AsyncRead + Unpin),
    mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    mut detach: Option<Detector>,
) -> io::Result<Fed> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = reader.read(&mut buffer).await?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            if let Some(mut stdin) = stdin {
                stdin.shutdown().await?;
            }
            return Ok(Fed::Ended);
        }
        let input = match &mut detach {
            Some(detector) => detector.push(read),
            None => Input::Pass(read.to_vec()),
        };
        let (bytes, detached) = match input {
            Input::Pass(bytes) => (bytes, false),
            Input::Detach(bytes) => (bytes, true),
        };
        if let Some(process) = &mut stdin
            && (process.write_all(&bytes).await.is_err() || process.flush().await.is_err())
        {
            stdin = None;
        }
        if detached {
            return Ok(Fed::Detached);
        }
    }
}
