//! From a request to its operation, and the headers of every answer.

use crate::call::{Call, SharedBody};
use crate::reply::{Body, Reply, error};
use crate::{
    Backend, configs, containers, exec, images, networks, nodes, secrets, services, swarm, system, volumes,
};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, SERVER};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use percent_encoding::percent_decode_str;
use shoal_wire::query::Query;
use shoal_wire::routes::{self, Answer, Method, Operation};
use shoal_wire::{ApiError, version};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) shutdown: CancellationToken,
    /// Connections that have left HTTP.
    pub(crate) hijacked: TaskTracker,
    server: HeaderValue,
}

impl Shared {
    pub(crate) fn new(backend: Arc<dyn Backend>, shutdown: CancellationToken) -> Self {
        let server = format!("Docker/{} (linux)", backend.system().version);
        let server = HeaderValue::from_str(&server).unwrap_or(HeaderValue::from_static("Docker (linux)"));
        Self { backend, shutdown, hijacked: TaskTracker::new(), server }
    }
}

/// Answers a request.
pub(crate) async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> Response<Body> {
    let wants_upgrade = request.headers().contains_key(hyper::header::UPGRADE);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let (method, uri) = (head.method.clone(), head.uri.clone());
    let body = SharedBody::new(body);
    let mut response = match route(shared.clone(), head, upgrade, body.clone()).await {
        Ok(response) => response,
        Err(failure) => {
            tracing::debug!(%method, path = uri.path(), error = %failure, "refused");
            error(&failure)
        }
    };
    body.drain().await;
    let headers = response.headers_mut();
    for (name, value) in [("api-version", "1.50"), ("docker-experimental", "false"), ("ostype", "linux")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(SERVER, shared.server.clone());
    response
}

async fn route(shared: Arc<Shared>, head: Parts, upgrade: Option<OnUpgrade>, body: SharedBody) -> Reply {
    let not_found = || ApiError::not_found("page not found");
    let path = percent_decode_str(head.uri.path()).decode_utf8().map_err(|_| not_found())?;
    // Names of containers may come with their slash (`/containers/%2Fweb/json`).
    let path = path.replace("//", "/");
    let (version, path) = version::split_path(&path)?;
    let method: Method = head.method.as_str().parse().map_err(|()| not_found())?;
    let found = routes::find(method, path, version).ok_or_else(not_found)?;
    let operation = match found.route.answer {
        Answer::Operation(operation) => operation,
        Answer::Unbuilt(missing) => {
            return Err(ApiError::not_implemented(format!("Shoal lacks {missing}")));
        }
    };
    let call = Call {
        shared,
        version,
        query: Query::parse(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        upgrade,
        parameters: found.parameters,
        body,
    };
    perform(operation, call).await
}

async fn perform(operation: Operation, call: Call) -> Reply {
    match operation {
        Operation::System(op) => system::perform(op, call).await,
        Operation::Swarm(op) => swarm::perform(op, call).await,
        Operation::Node(op) => nodes::perform(op, call).await,
        Operation::Service(op) => services::perform(op, call).await,
        Operation::Secret(op) => secrets::perform(op, call).await,
        Operation::Config(op) => configs::perform(op, call).await,
        Operation::Network(op) => networks::perform(op, call).await,
        Operation::Container(op) => containers::perform(op, call).await,
        Operation::Exec(op) => exec::perform(op, call).await,
        Operation::Image(op) => images::perform(op, call).await,
        Operation::Volume(op) => volumes::perform(op, &call),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_header_tells_the_newest_version() {
        assert_eq!(shoal_wire::version::MAX.to_string(), "1.50");
    }
}
