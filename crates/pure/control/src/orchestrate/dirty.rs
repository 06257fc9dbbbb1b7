//! Whether a task is what its service asks for now.

use crate::admit::publishes_on_the_mesh;
use crate::placement::satisfies_constraints;
use shoal_model::spec::{PortConfig, PublishMode, TaskSpec};
use shoal_model::{Service, Task, TaskState};
use shoal_store::State;
use std::borrow::Cow;

/// Whether a task is what its service asks for now; what the `_up-to-date` filter of `GET /tasks` asks for. A change
/// that leaves the tasks alone (replicas, labels, update parameters) makes none of them stale.
pub fn is_up_to_date(state: &State, service: &Service, task: &Task) -> bool {
    if service.spec.is_job() {
        return task.job_iteration == service.job_iteration.map(|version| version.index);
    }
    if task.spec_version == service.spec_version {
        return true;
    }
    same_template(state, service, task) && serves_the_ports(state, service, task)
}

/// The template that new tasks of a service are made from.
pub(crate) fn template(service: &Service) -> Cow<'_, TaskSpec> {
    let template = &service.spec.task_template;
    if template.networks.is_empty() && !service.spec.networks.is_empty() {
        Cow::Owned(TaskSpec { networks: service.spec.networks.clone(), ..template.clone() })
    } else {
        Cow::Borrowed(template)
    }
}

fn same_template(state: &State, service: &Service, task: &Task) -> bool {
    let wanted = template(service);
    if task.spec == *wanted {
        return true;
    }
    // Another placement alone moves only those tasks whose node it rules out.
    let moved = TaskSpec { placement: wanted.placement.clone(), ..task.spec.clone() };
    let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
    moved == *wanted && node.is_some_and(|node| satisfies_constraints(&moved, node))
}

/// A published port may be added or taken away behind a running task's back, as long as the task has its address on the
/// ingress network. Host-mode ports are the container's own.
fn serves_the_ports(state: &State, service: &Service, task: &Task) -> bool {
    let endpoint = service.spec.endpoint_spec.as_ref();
    let ports = endpoint.map(|endpoint| endpoint.ports.as_slice()).unwrap_or_default();
    let host_ports: Vec<_> = ports.iter().filter(|port| port.mode() == PublishMode::Host).collect();
    if task.status.state < TaskState::Pending {
        return true;
    }
    let same_host_ports = host_ports.len() == task.host_ports.len()
        && host_ports.iter().zip(&task.host_ports).all(|(wanted, has)| grants(wanted, has));
    let ingress = state.ingress_network().filter(|_| publishes_on_the_mesh(endpoint));
    same_host_ports && ingress.is_none_or(|ingress| task.address_on(&ingress.id).is_some())
}

fn grants(wanted: &PortConfig, has: &PortConfig) -> bool {
    let number = wanted.published_port == 0 || wanted.published_port == has.published_port;
    number && wanted.target_port == has.target_port && wanted.transport() == has.transport()
}
