//! `/tasks…`

use crate::call::Call;
use crate::lookup::failed;
use crate::reply::{self, Reply};
use shoal_model::Task;
use shoal_model::task::TaskState;
use shoal_store::State;
use shoal_wire::ApiError;
use shoal_wire::filters::Filters;

const STATES: [TaskState; 14] = [
    TaskState::New,
    TaskState::Pending,
    TaskState::Assigned,
    TaskState::Accepted,
    TaskState::Preparing,
    TaskState::Ready,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Complete,
    TaskState::Shutdown,
    TaskState::Failed,
    TaskState::Rejected,
    TaskState::Remove,
    TaskState::Orphaned,
];

pub(crate) fn inspect(call: &Call, state: &State) -> Reply {
    let task = state.find_task(call.target()).map_err(|e| failed(&e))?;
    reply::json(&shoal_wire::task::Task::new(task, state.networks()))
}

pub(crate) fn list(call: &Call, state: &State) -> Reply {
    let known = ["_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service"];
    let filters = resolve(call.filters(&known)?, state)?;
    let shown: Vec<_> = state
        .tasks()
        .values()
        .filter(|task| wanted(task, &filters, state))
        .map(|task| shoal_wire::task::Task::new(task, state.networks()))
        .collect();
    reply::json(&shown)
}

/// Names of services and nodes become ids; unknown ones are errors, as in Docker.
fn resolve(mut filters: Filters, state: &State) -> Result<Filters, ApiError> {
    for name in filters.values("service") {
        state.find_service(name).map_err(|e| failed(&e))?;
    }
    for name in filters.values("node") {
        state.find_node(name).map_err(|e| failed(&e))?;
    }
    let known = |value: &str| STATES.iter().any(|s| s.as_str().eq_ignore_ascii_case(value));
    if let Some(bad) = filters.values("desired-state").find(|value| !value.is_empty() && !known(value)) {
        return Err(ApiError::bad_request(format!("Invalid desired-state filter: '{bad}'")));
    }
    filters.map_values("desired-state", str::to_ascii_lowercase);
    filters.map_values("service", |name| {
        state.find_service(name).map_or_else(|_| name.to_owned(), |service| service.id.to_string())
    });
    filters.map_values("node", |name| {
        state.find_node(name).map_or_else(|_| name.to_owned(), |node| node.id.to_string())
    });
    Ok(filters)
}

fn wanted(task: &Task, filters: &Filters, state: &State) -> bool {
    let node = task.node.as_ref().map_or("", |node| node.as_str());
    filters.exact("service", task.service.as_str())
        && filters.exact("node", node)
        && filters.exact("desired-state", task.desired.as_str())
        && filters.prefix("id", [task.id.as_str()])
        && (!filters.has("name") || filters.prefix("name", [task.container_name().as_str()]))
        && filters.labels("label", &task.spec.container().labels)
        && filters.exact("runtime", "container")
        && (!filters.has("_up-to-date") || up_to_date(task, state))
}

/// Whether the task runs what its service asks for now. A version of its own is no proof that it does not: scaling
/// raises the service's version and leaves the tasks as they are.
fn up_to_date(task: &Task, state: &State) -> bool {
    let Some(service) = state.services().get(&task.service) else { return false };
    if task.spec_version == service.spec_version {
        return true;
    }
    let previous = service.previous_spec.as_ref();
    let same_endpoint = Some(task.spec_version) != service.previous_spec_version
        || previous.is_none_or(|previous| previous.endpoint_spec == service.spec.endpoint_spec);
    task.spec == service.spec.task_template && same_endpoint
}
