//! `/exec…` and `POST /containers/{id}/exec`

use crate::Backend;
use crate::backend::{ExecFrame, ExecIo};
use crate::call::Call;
use crate::containers::{find, terminal_size};
use crate::hijack;
use crate::reply::{self, Reply};
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use shoal_wire::container::ContainerState;
use shoal_wire::exec::{Exec, ExecConfig, ExecStart};
use shoal_wire::logs::StdStream;
use shoal_wire::routes::ExecOp;
use shoal_wire::{ApiError, detach_keys};
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn perform(op: ExecOp, call: Call) -> Reply {
    match op {
        ExecOp::Create => create(call).await,
        ExecOp::Start => start(call).await,
        ExecOp::Resize => {
            let (height, width) = terminal_size(&call)?;
            let exec = known(&call).await?;
            call.backend().resize_exec(&exec.id, height, width).await?;
            reply::empty()
        }
        ExecOp::Inspect => reply::json(&known(&call).await?.body()),
    }
}

async fn known(call: &Call) -> Result<Exec, ApiError> {
    let id = call.target();
    let exec = call.backend().exec(id).await?;
    exec.ok_or_else(|| ApiError::not_found(format!("No such exec instance: {id}")))
}

async fn create(mut call: Call) -> Reply {
    let config: ExecConfig = call.json().await?;
    if config.cmd.is_empty() {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    detach_keys::parse(&config.detach_keys)?;
    let container = find(&call).await?;
    if !matches!(container.state, ContainerState::Running { .. }) {
        return Err(ApiError::conflict(format!("container {} is not running", container.id)));
    }
    let id = call.backend().create_exec(&container.id, config).await?;
    reply::created(&json!({"Id": id}))
}

async fn start(mut call: Call) -> Reply {
    let mut asked: ExecStart = call.json_or_default().await?;
    let exec = known(&call).await?;
    if exec.running || exec.exit_code.is_some() {
        return Err(ApiError::conflict(format!("exec command {} has already run", exec.id)));
    }
    // The terminal was decided when the session was made; clients that leave it out here do not mean none.
    asked.tty = exec.config.tty;
    if asked.console_size.is_none() {
        asked.console_size = exec.config.console_size;
    }
    let detach_keys = detach_keys::parse(&exec.config.detach_keys)?;
    let io = match call.backend().start_exec(&exec.id, asked).await {
        Ok(io) if !asked.detach => io,
        Ok(_) => return reply::empty(),
        Err(error) => told_in_session(&call, &exec.id, error).await?,
    };
    let backend = call.backend().clone();
    let output = io.output.chain(silent_until_ended(backend, exec.id));
    let session = hijack::Session {
        io: ExecIo { stdin: io.stdin, output: output.boxed() },
        tty: asked.tty,
        detach_keys,
        pause: hijack::pause_for(call.header("user-agent").unwrap_or_default()),
    };
    hijack::answer(call, session)
}

/// A session that ended as it began (no such program) tells why in its output, and its exit status by inspection; any
/// other failure is the answer.
async fn told_in_session(call: &Call, id: &str, error: ApiError) -> Result<ExecIo, ApiError> {
    let ended = call.backend().exec(id).await?.is_some_and(|exec| exec.exit_code.is_some());
    if !ended || call.upgrade.is_none() {
        return Err(error);
    }
    let text = format!("{error}\r\n");
    let frame = ExecFrame { stream: StdStream::Stdout, bytes: text.into() };
    Ok(ExecIo { stdin: None, output: stream::iter([Ok(frame)]).boxed() })
}

/// First and longest pause between two looks at a session that has closed its output.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(250);

/// Nothing, until the session's process has ended: clients take the end of the stream for the end of the process and
/// ask for its exit status at once.
fn silent_until_ended(
    backend: Arc<dyn Backend>,
    id: String,
) -> impl Stream<Item = Result<ExecFrame, ApiError>> + Send {
    let ended = async move {
        let mut pause = FIRST_LOOK;
        while matches!(backend.exec(&id).await, Ok(Some(exec)) if exec.exit_code.is_none()) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    };
    stream::once(ended).filter_map(|()| std::future::ready(None))
}
