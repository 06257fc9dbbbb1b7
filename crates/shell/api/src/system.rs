//! `/_ping`, `/version`, `/info`, `/events`, `/system/df`, `/plugins`.

use crate::call::Call;
use crate::reply::{self, Reply};
use futures::{FutureExt, Stream, StreamExt};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA};
use shoal_model::Timestamp;
use shoal_wire::event::{Event, Scope};
use shoal_wire::filters::Filters;
use shoal_wire::routes::SystemOp;
use shoal_wire::swarm::{SwarmInfo, ping_header};
use shoal_wire::{ApiError, info};
use std::time::Duration;

pub(crate) async fn perform(op: SystemOp, call: Call) -> Reply {
    match op {
        SystemOp::Ping => Ok(ping(&call)),
        SystemOp::Version => reply::json(&info::version(&call.backend().system())),
        SystemOp::Info => {
            let backend = call.backend();
            reply::json(&info::info(&backend.system(), &swarm_info(&call), backend.now()))
        }
        SystemOp::DiskUsage => disk_usage(&call).await,
        SystemOp::Events => events(&call),
        SystemOp::Plugins => reply::json(&[(); 0]),
        SystemOp::InspectPlugin => Err(ApiError::not_found(format!("plugin {:?} not found", call.target()))),
    }
}

fn ping(call: &Call) -> Response<reply::Body> {
    let mut response = Response::new(reply::full("OK"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // 1 is the classic builder: there is no BuildKit here.
    headers.insert(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"));
    let swarm = HeaderValue::from_static(ping_header(&call.backend().membership()));
    headers.insert(HeaderName::from_static("swarm"), swarm);
    response
}

fn swarm_info(call: &Call) -> SwarmInfo {
    let mut info = SwarmInfo::of(&call.backend().membership());
    if let (true, Ok(state)) = (info.control_available, call.backend().state()) {
        info.nodes = u64::try_from(state.nodes().len()).unwrap_or(u64::MAX);
        let managers = state.nodes().values().filter(|node| node.manager_addr.is_some()).count();
        info.managers = u64::try_from(managers).unwrap_or(u64::MAX);
        info.cluster = state.cluster().map(|cluster| cluster.as_ref().into());
    }
    info
}

async fn disk_usage(call: &Call) -> Reply {
    let backend = call.backend();
    let (usage, images, containers) =
        tokio::try_join!(backend.disk_usage(), backend.images(), backend.containers())?;
    reply::json(&info::disk_usage(&usage, &images, &containers, call.version))
}

fn events(call: &Call) -> Reply {
    let filters = Filters::parse(call.query.get("filters"))?;
    let (since, until) = (call.query.time("since")?, call.query.time("until")?);
    let now = call.backend().now();
    let stream = call.backend().events(since);
    let stream = bounded(stream, until, now, call.shared.shutdown.clone())
        .filter(move |event| std::future::ready(wanted(event, &filters)))
        .map(|event| Ok(event.body()));
    reply::json_lines(stream)
}

/// Events up to `until`: those remembered are told even if that time is past.
fn bounded(
    mut stream: futures::stream::BoxStream<'static, Event>,
    until: Option<Timestamp>,
    now: Timestamp,
    shutdown: tokio_util::sync::CancellationToken,
) -> impl Stream<Item = Event> + Send {
    let mut remembered = Vec::new();
    if until.is_some() {
        while let Some(Some(event)) = stream.next().now_or_never() {
            remembered.push(event);
        }
    }
    let live = stream.take_until(async move {
        let deadline = async {
            match until {
                Some(until) => tokio::time::sleep(until.since(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = deadline => {}
            () = shutdown.cancelled() => {}
        }
    });
    futures::stream::iter(remembered)
        .chain(live)
        .take_while(move |event| std::future::ready(until.is_none_or(|until| event.at <= until)))
}

fn wanted(event: &Event, filters: &Filters) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let scope = match event.scope {
        Scope::Local => "local",
        Scope::Swarm => "swarm",
    };
    let action = event.action.split(':').next().unwrap_or_default();
    let about = |kind: &str| {
        !filters.has(kind)
            || (event.kind == kind
                && filters.values(kind).any(|v| {
                    event.id == v || attribute("name") == v || (v.len() >= 3 && event.id.starts_with(v))
                }))
    };
    let image = !filters.has("image")
        || filters
            .values("image")
            .any(|v| event.id == v || attribute("name") == v || attribute("image") == v);
    filters.exact("type", &event.kind)
        && filters.exact("scope", scope)
        && (filters.exact("event", action) || filters.exact("event", &event.action))
        && image
        && filters.labels("label", &event.attributes)
        && ["container", "network", "service", "node", "secret", "config", "volume", "daemon"]
            .into_iter()
            .all(about)
}

/// Ends a wait that should not be one.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(ApiError::unavailable(format!("{what} did not answer within {} s", limit.as_secs())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn event(kind: &str, action: &str, at: i64) -> Event {
        Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: "abcdef".to_owned(),
            attributes: BTreeMap::from([("name".to_owned(), "web".to_owned())]),
            scope: Scope::Local,
            at: Timestamp(at),
        }
    }

    #[tokio::test]
    async fn remembered_events_are_told_although_until_is_past() {
        let stream = futures::stream::iter([event("container", "start", 1), event("container", "die", 5)]);
        let live = stream.chain(futures::stream::pending()).boxed();
        let shutdown = tokio_util::sync::CancellationToken::new();
        let told: Vec<_> = bounded(live, Some(Timestamp(3)), Timestamp(9), shutdown).collect().await;
        assert_eq!(told.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["start"]);
    }

    #[test]
    fn filters_choose_events() {
        let start = event("container", "start", 1);
        let asks = |text: &str| wanted(&start, &Filters::parse(Some(text)).unwrap());
        assert!(asks(r#"{"type":["container"],"event":["start"]}"#));
        assert!(asks(r#"{"container":["web"]}"#) && asks(r#"{"container":["abc"]}"#));
        assert!(!asks(r#"{"container":["other"]}"#) && !asks(r#"{"event":["die"]}"#));
        assert!(!asks(r#"{"network":["web"]}"#) && !asks(r#"{"scope":["swarm"]}"#));
    }
}
