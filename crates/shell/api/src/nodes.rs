//! `/nodes…`

use crate::call::Call;
use crate::lookup::failed;
use crate::reply::{self, Reply};
use shoal_model::NodeId;
use shoal_model::node::NodeSpec;
use shoal_store::State;
use shoal_wire::ApiError;
use shoal_wire::certificate::TlsInfo;
use shoal_wire::filters::Filters;
use shoal_wire::node::Node;
use shoal_wire::routes::NodeOp;

pub(crate) async fn perform(op: NodeOp, mut call: Call) -> Reply {
    let state = call.backend().state()?;
    match op {
        NodeOp::List => list(&call, &state),
        NodeOp::Inspect => {
            let node = state.find_node(call.target()).map_err(|e| failed(&e))?;
            let health = call.backend().managers().get(&node.id).copied();
            reply::json(&Node::new(node, &root(&state), health))
        }
        NodeOp::Update => {
            let spec: NodeSpec = call.json().await?;
            let version = call.query.object_version("node")?;
            call.backend().update_node(find(&state, call.target())?, version, spec).await?;
            reply::empty()
        }
        NodeOp::Remove => {
            let force = call.query.flag("force");
            call.backend().remove_node(find(&state, call.target())?, force).await?;
            reply::empty()
        }
    }
}

fn find(state: &State, text: &str) -> Result<NodeId, ApiError> {
    state.find_node(text).map(|node| node.id.clone()).map_err(|e| failed(&e))
}

fn root(state: &State) -> TlsInfo {
    state.cluster().map(|cluster| TlsInfo::of_root(&cluster.root_ca)).unwrap_or_default()
}

fn list(call: &Call, state: &State) -> Reply {
    let filters = call.filters(&["id", "label", "membership", "name", "node.label", "role"])?;
    check_words(&filters, "role", &["worker", "manager"])?;
    check_words(&filters, "membership", &["accepted", "pending"])?;
    let (root, managers) = (root(state), call.backend().managers());
    let nodes = state.nodes().values().filter(|node| {
        filters.prefix("id", [node.id.as_str()])
            && filters.prefix("name", [node.description.hostname.as_str()])
            && filters.labels("label", &node.description.engine.labels)
            && filters.labels("node.label", &node.spec.labels)
            && filters.exact("role", node.spec.role.as_str())
            && filters.exact("membership", "accepted")
    });
    let shown: Vec<Node> =
        nodes.map(|node| Node::new(node, &root, managers.get(&node.id).copied())).collect();
    reply::json(&shown)
}

fn check_words(filters: &Filters, key: &str, words: &[&str]) -> Result<(), ApiError> {
    match filters.values(key).find(|value| !words.contains(value)) {
        Some(bad) => Err(ApiError::bad_request(format!("Invalid {key} filter: '{bad}'"))),
        None => Ok(()),
    }
}
