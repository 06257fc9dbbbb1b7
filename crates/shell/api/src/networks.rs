//! `/networks…`

use crate::call::Call;
use crate::reply::{self, Reply};
use serde_json::{Value, json};
use shoal_model::NetworkId;
use shoal_model::spec::Protocol;
use shoal_wire::ApiError;
use shoal_wire::filters::Filters;
use shoal_wire::network_body::{CreateRequest, NetworkBody};
use shoal_wire::routes::NetworkOp;
use shoal_wire::system::Membership;

pub(crate) async fn perform(op: NetworkOp, call: Call) -> Reply {
    match op {
        NetworkOp::List => list(&call),
        NetworkOp::Inspect => inspect(&call),
        NetworkOp::Create => create(call).await,
        NetworkOp::Remove => remove(&call).await,
        NetworkOp::Prune => prune(&call).await,
        NetworkOp::VirtualServer => virtual_server(&call).await,
        NetworkOp::Trace => trace(&call).await,
        NetworkOp::Verify => verify(&call).await,
    }
}

/// The swarm's networks as managers know them; none on other nodes.
fn of_swarm(call: &Call) -> Vec<NetworkBody> {
    let state = call.backend().state();
    state.map(|s| s.networks().values().map(|n| NetworkBody::swarm(n)).collect()).unwrap_or_default()
}

/// The networks that this host holds, overlays with their local view.
fn of_host(call: &Call) -> Vec<NetworkBody> {
    let (local, overlays) = (call.backend().local_networks(), call.backend().overlays());
    local.iter().map(NetworkBody::local).chain(overlays.iter().map(NetworkBody::overlay)).collect()
}

/// First the networks of `first`, then those of `second` that are not among them.
fn united(first: Vec<NetworkBody>, second: Vec<NetworkBody>) -> Vec<NetworkBody> {
    let mut all = first;
    let more: Vec<_> = second.into_iter().filter(|n| !all.iter().any(|have| have.id == n.id)).collect();
    all.extend(more);
    all
}

fn list(call: &Call) -> Reply {
    let known = ["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = call.filters(&known)?;
    let dangling = filters.has("dangling").then(|| filters.flag("dangling", true)).transpose()?;
    if let Some(bad) = filters.values("type").find(|kind| !matches!(*kind, "custom" | "builtin")) {
        return Err(ApiError::bad_request(format!("invalid filter: 'type'='{bad}'")));
    }
    let wanted = |network: &NetworkBody| {
        let kind = if network.predefined { "builtin" } else { "custom" };
        filters.matches("name", [network.name.as_str()])
            && filters.matches("id", [network.id.as_str()])
            && filters.exact("driver", &network.driver)
            && filters.exact("scope", network.scope)
            && filters.exact("type", kind)
            && filters.labels("label", &network.labels)
            && dangling.is_none_or(|wanted| wanted == (!network.predefined && network.unused))
    };
    let networks = united(of_swarm(call), of_host(call));
    reply::json(&networks.into_iter().filter(wanted).map(|n| n.body).collect::<Vec<Value>>())
}

/// A network by id, name or unique beginning of its id.
fn find(call: &Call, scope: &str) -> Result<NetworkBody, ApiError> {
    let text = call.target();
    let all: Vec<NetworkBody> = united(of_host(call), of_swarm(call))
        .into_iter()
        .filter(|network| scope.is_empty() || network.scope == scope)
        .collect();
    let pick = |how: &str, fits: &dyn Fn(&NetworkBody) -> bool| {
        let mut fitting = all.iter().filter(|network| fits(network));
        match (fitting.next(), fitting.count()) {
            (None, _) => Ok(None),
            (Some(network), 0) => Ok(Some(network.clone())),
            (Some(_), more) => Err(ApiError::bad_request(format!(
                "network {text} is ambiguous ({} matches found based on {how})",
                more + 1
            ))),
        }
    };
    let found = match pick("ID", &|n| n.id == text)? {
        Some(network) => Some(network),
        None => match pick("name", &|n| n.name == text)? {
            Some(network) => Some(network),
            None => pick("ID prefix", &|n| !text.is_empty() && n.id.starts_with(text))?,
        },
    };
    found.ok_or_else(|| ApiError::not_found(format!("network {text} not found")))
}

fn inspect(call: &Call) -> Reply {
    let verbose = call.query.strict_flag("verbose")?;
    let network = find(call, call.query.text("scope"))?;
    reply::json(&if verbose { network.verbose() } else { network.body })
}

async fn create(mut call: Call) -> Reply {
    let asked: CreateRequest = call.json().await?;
    if asked.name.is_empty() {
        return Err(ApiError::bad_request("network name is required"));
    }
    let driver = if asked.driver.is_empty() { "bridge" } else { asked.driver.as_str() };
    if driver != "overlay" {
        return Err(ApiError::not_implemented(format!(
            "Shoal lacks networks of driver {driver}: it has overlay networks (-d overlay)"
        )));
    }
    if asked.config_only || asked.config_from.as_ref().is_some_and(|from| !from.is_null()) {
        return Err(ApiError::not_implemented(
            "Shoal lacks network configurations (config-only, config-from)",
        ));
    }
    if let Membership::Worker(_) = call.backend().membership() {
        return Err(ApiError::forbidden(
            "Cannot create a multi-host network from a worker node. Please create the network from a manager node.",
        ));
    }
    call.backend().state()?;
    if united(of_swarm(&call), of_host(&call)).iter().any(|network| network.name == asked.name) {
        return Err(ApiError::conflict(format!("network with name {} already exists", asked.name)));
    }
    let id = call.backend().create_network(asked.overlay_spec()?).await?;
    reply::created(&json!({"Id": id, "Warning": ""}))
}

async fn remove(call: &Call) -> Reply {
    let network = find(call, "")?;
    if network.predefined {
        let name = &network.name;
        return Err(ApiError::forbidden(format!("{name} is a pre-defined network and cannot be removed")));
    }
    call.backend().state()?;
    call.backend().remove_network(swarm_id(&network)?).await?;
    reply::no_content()
}

fn swarm_id(network: &NetworkBody) -> Result<NetworkId, ApiError> {
    network.id.parse().map_err(|_| ApiError::not_found(format!("network {} not found", network.id)))
}

/// Removes the swarm's networks that nothing uses; those in use refuse, which is the test.
async fn prune(call: &Call) -> Reply {
    let filters: Filters = call.filters(&["label", "label!", "until"])?;
    let until = filters.values("until").next().map(|text| prune_before(call, text)).transpose()?;
    let Ok(state) = call.backend().state() else {
        return reply::json(&json!({"NetworksDeleted": null}));
    };
    let mut deleted = Vec::new();
    for network in state.networks().values() {
        let spec = &network.spec;
        let wanted = !spec.ingress
            && filters.labels("label", &spec.labels)
            && filters.without_labels("label!", &spec.labels)
            && until.is_none_or(|until| network.meta.created_at <= until);
        if wanted && call.backend().remove_network(network.id.clone()).await.is_ok() {
            deleted.push(spec.name.clone());
        }
    }
    reply::json(&json!({"NetworksDeleted": (!deleted.is_empty()).then_some(deleted)}))
}

/// The time that an `until` filter of a prune means: a time, or a duration before now (`24h`, `90m`, `30s`).
pub(crate) fn prune_before(call: &Call, text: &str) -> Result<shoal_model::Timestamp, ApiError> {
    let now = call.backend().now();
    shoal_wire::query::before(text, now)
        .ok_or_else(|| ApiError::bad_request(format!("invalid filter 'until=[{text}]'")))
}

/// This host's virtual server.
async fn virtual_server(call: &Call) -> Reply {
    let connections = call.query.strict_flag("connections")?;
    reply::json(&call.backend().virtual_server(connections).await?)
}

/// Whether the kernels hold what was declared.
async fn verify(call: &Call) -> Reply {
    let quick = call.query.strict_flag("quick")?;
    reply::json(&call.backend().verify(quick).await?)
}

/// The way of a connection.
async fn trace(call: &Call) -> Reply {
    let protocol = if call.query.strict_flag("udp")? { Protocol::Udp } else { Protocol::Tcp };
    let (from, to) = (call.query.text("from"), call.query.text("to"));
    if from.is_empty() || to.is_empty() {
        return Err(ApiError::bad_request("both ends are needed: from and to"));
    }
    reply::json(&call.backend().trace(from, to, protocol).await?)
}
