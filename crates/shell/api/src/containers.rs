//! `/containers…`

use crate::backend::StateChange;
use crate::call::Call;
use crate::networks::prune_before;
use crate::reply::{self, Reply};
use crate::{logs, stats};
use futures::FutureExt;
use futures::future::{MaybeDone, maybe_done};
use serde_json::json;
use shoal_wire::ApiError;
use shoal_wire::container::{Container, ContainerState, Health, RemoveOptions, StopOptions, WaitCondition};
use shoal_wire::container_body as body;
use shoal_wire::filters::Filters;
use shoal_wire::routes::ContainerOp;
use shoal_wire::status_text::state_word;

pub(crate) async fn perform(op: ContainerOp, call: Call) -> Reply {
    match op {
        ContainerOp::List => return list(&call).await,
        ContainerOp::Prune => return prune(&call).await,
        _ => {}
    }
    let container = find(&call).await?;
    let id = container.id.as_str();
    let backend = call.backend();
    match op {
        ContainerOp::List | ContainerOp::Prune => reply::no_content(),
        ContainerOp::Inspect => {
            let driver = backend.system().storage_driver;
            reply::json(&body::inspect(&container, &driver, call.query.flag("size")))
        }
        ContainerOp::Start => changed(backend.start_container(id).await?),
        ContainerOp::Stop => changed(backend.stop_container(id, stop_options(&call)?).await?),
        ContainerOp::Restart => {
            backend.restart_container(id, stop_options(&call)?).await?;
            reply::no_content()
        }
        ContainerOp::Kill => {
            backend.kill_container(id, call.query.text("signal")).await?;
            reply::no_content()
        }
        ContainerOp::Wait => wait(&call, id.to_owned()),
        ContainerOp::Remove => {
            if call.query.flag("link") {
                return Err(ApiError::not_implemented("Shoal lacks links between containers"));
            }
            let options = RemoveOptions { force: call.query.flag("force"), volumes: call.query.flag("v") };
            backend.remove_container(id, options).await?;
            reply::no_content()
        }
        ContainerOp::Resize => {
            let (height, width) = terminal_size(&call)?;
            backend.resize_container(id, height, width).await?;
            reply::empty()
        }
        ContainerOp::Top => {
            let arguments = call.query.get("ps_args").unwrap_or("-ef");
            reply::json(&body::top(&backend.container_processes(id, arguments).await?))
        }
        ContainerOp::Stats => stats::answer(&call, container).await,
        ContainerOp::Logs => logs::of_container(&call, id, container.tty).await,
    }
}

fn changed(change: StateChange) -> Reply {
    match change {
        StateChange::Changed => reply::no_content(),
        StateChange::Unchanged => reply::not_modified(),
    }
}

fn stop_options(call: &Call) -> Result<StopOptions, ApiError> {
    let signal = call.query.text("signal");
    Ok(StopOptions {
        signal: (!signal.is_empty()).then(|| signal.to_owned()),
        timeout_seconds: call.query.number("t")?,
    })
}

/// `h` and `w` of a resize.
pub(crate) fn terminal_size(call: &Call) -> Result<(u16, u16), ApiError> {
    let side = |key: &str| call.query.number(key).map(Option::unwrap_or_default);
    Ok((side("h")?, side("w")?))
}

/// The container that the path names: by id, name or unique beginning of its id.
pub(crate) async fn find(call: &Call) -> Result<Container, ApiError> {
    pick(call.backend().containers().await?, call.target())
}

fn pick(containers: Vec<Container>, text: &str) -> Result<Container, ApiError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let not_found = || ApiError::not_found(format!("No such container: {text}"));
    if name.is_empty() {
        return Err(not_found());
    }
    if let Some(exact) = containers.iter().position(|c| c.id == text || c.name == name) {
        return containers.into_iter().nth(exact).ok_or_else(not_found);
    }
    let mut fitting = containers.into_iter().filter(|c| c.id.starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some(container), None) => Ok(container),
        (Some(_), Some(_)) => {
            Err(ApiError::bad_request(format!("multiple IDs found with provided prefix: {text}")))
        }
        (None, _) => Err(not_found()),
    }
}

const FILTERS: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "title",
];

async fn list(call: &Call) -> Reply {
    let filters = call.filters(&FILTERS)?;
    let limit: Option<i64> = call.query.number("limit")?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let all = call.query.flag("all") || limit.is_some() || filters.has("status") || filters.has("exited");
    let mut containers = call.backend().containers().await?;
    containers.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    let edge = |key: &str| filters.values(key).next().map(|name| pick(containers.clone(), name)).transpose();
    let (before, since) = (edge("before")?, edge("since")?);
    let (now, size) = (call.backend().now(), call.query.flag("size"));
    let shown: Vec<_> = containers
        .iter()
        .filter(|c| all || matches!(c.state, ContainerState::Running { .. }))
        .filter(|c| before.as_ref().is_none_or(|b| c.created < b.created))
        .filter(|c| since.as_ref().is_none_or(|s| c.created > s.created))
        .filter(|c| wanted(c, &filters))
        .take(limit.unwrap_or(usize::MAX))
        .map(|c| body::summary(c, now, size))
        .collect();
    reply::json(&shown)
}

fn wanted(container: &Container, filters: &Filters) -> bool {
    let exit = match &container.state {
        ContainerState::Exited { code, .. } => code.to_string(),
        _ => String::new(),
    };
    let health = match container.health {
        None => "none",
        Some(Health::Starting) => "starting",
        Some(Health::Healthy) => "healthy",
        Some(Health::Unhealthy) => "unhealthy",
    };
    let short_image = container.image_id.strip_prefix("sha256:").unwrap_or(&container.image_id);
    let image = !filters.has("ancestor")
        || filters.values("ancestor").any(|wanted| {
            container.image == wanted
                || container.image.split(':').next() == Some(wanted)
                || container.image_id == wanted
                || (wanted.len() >= 4 && short_image.starts_with(wanted))
        });
    let network = !filters.has("network")
        || filters.values("network").any(|wanted| {
            container.networks.iter().any(|(name, n)| name == wanted || n.network_id.starts_with(wanted))
        });
    let slashed = format!("/{}", container.name);
    let ports = |key: &str, of: &dyn Fn(&shoal_model::spec::PortConfig) -> u16| {
        !filters.has(key)
            || filters.values(key).any(|wanted| {
                container.ports.iter().any(|port| {
                    let number = of(port).to_string();
                    wanted == number || wanted == format!("{number}/{}", port.transport())
                })
            })
    };
    image
        && network
        && filters.prefix("id", [container.id.as_str()])
        && filters.matches("name", [container.name.as_str(), slashed.as_str()])
        && filters.labels("label", &container.labels)
        && filters.exact("status", state_word(&container.state))
        && filters.exact("exited", &exit)
        && filters.exact("health", health)
        && filters.exact("is-task", &container.labels.contains_key("com.docker.swarm.task.id").to_string())
        && (!filters.has("volume")
            || filters
                .values("volume")
                .any(|v| container.mounts.iter().any(|m| m.source == v || m.target == v)))
        && ports("expose", &|port| port.target_port)
        && ports("publish", &|port| port.published_port)
}

/// The head of the answer must be sent before the container even starts: the docker command waits for it. The wait is
/// armed before that, so that no end is missed.
fn wait(call: &Call, id: String) -> Reply {
    let condition = match call.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(ApiError::bad_request(format!("invalid condition: \"{other}\""))),
    };
    let backend = call.backend().clone();
    let mut waiting = Box::pin(maybe_done(async move { backend.wait_container(&id, condition).await }));
    // Polling it once arms it.
    if waiting.as_mut().now_or_never().is_some() && matches!(*waiting, MaybeDone::Gone) {
        return Err(ApiError::internal("the wait ended before it began"));
    }
    let outcome = async move {
        waiting.as_mut().await;
        match waiting.as_mut().take_output() {
            Some(outcome) => outcome.map(|outcome| body::wait(&outcome)),
            None => Err(ApiError::internal("the wait was lost")),
        }
    };
    reply::json_lines(futures::stream::once(outcome))
}

/// Removes the containers that do not run.
async fn prune(call: &Call) -> Reply {
    let filters = call.filters(&["label", "label!", "until"])?;
    let until = filters.values("until").next().map(|text| prune_before(call, text)).transpose()?;
    let (mut deleted, mut bytes) = (Vec::new(), 0);
    for container in call.backend().containers().await? {
        let wanted = !matches!(container.state, ContainerState::Running { .. })
            && filters.labels("label", &container.labels)
            && filters.without_labels("label!", &container.labels)
            && until.is_none_or(|until| container.created <= until);
        let options = RemoveOptions::default();
        if wanted && call.backend().remove_container(&container.id, options).await.is_ok() {
            bytes += container.size_rw.unwrap_or(0);
            deleted.push(container.id);
        }
    }
    reply::json(&json!({
        "ContainersDeleted": (!deleted.is_empty()).then_some(deleted),
        "SpaceReclaimed": bytes,
    }))
}
