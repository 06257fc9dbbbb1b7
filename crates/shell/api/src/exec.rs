//! `/exec…` and `POST /containers/{id}/exec`

use crate::call::Call;
use crate::containers::{find, terminal_size};
use crate::hijack;
use crate::reply::{self, Reply};
use serde_json::json;
use shoal_wire::container::ContainerState;
use shoal_wire::exec::{Exec, ExecConfig, ExecStart};
use shoal_wire::routes::ExecOp;
use shoal_wire::{ApiError, detach_keys};

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
    let io = call.backend().start_exec(&exec.id, asked).await?;
    if asked.detach {
        return reply::empty();
    }
    let session = hijack::Session {
        io,
        tty: exec.config.tty,
        detach_keys: detach_keys::parse(&exec.config.detach_keys)?,
    };
    hijack::answer(call, session)
}
