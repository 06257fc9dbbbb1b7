//! Addresses and host ports of new tasks.

use super::addresses::AddressBooks;
use super::ports::DYNAMIC;
use super::services::networks_of;
use crate::draft::Draft;
use shoal_model::spec::{PortConfig, Protocol, PublishMode};
use shoal_model::task::{Attachment, Owner};
use shoal_model::{NetworkId, Service, Task, TaskState};
use shoal_store::{Change, Claim, State};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn allocate(draft: &mut Draft<'_>, books: &mut AddressBooks) {
    let mut waiting: Vec<Arc<Task>> = new_tasks(draft.state());
    waiting.sort_by(|a, b| (a.meta.created_at, a.slot, &a.id).cmp(&(b.meta.created_at, b.slot, &b.id)));
    let mut host_ports = HostPorts::default();
    for task in waiting {
        let Some(service) = draft.state().services().get(&task.service).cloned() else { continue };
        if service.endpoint.mode.is_none() {
            explain(draft, &task, "waiting for the service's addresses and ports");
            continue;
        }
        match attachments(draft.state(), &service, books) {
            Err(network) => explain(draft, &task, &no_address(draft.state(), &network)),
            Ok(attachments) => match host_ports.of_task(draft.state(), &service) {
                None => explain(draft, &task, "no free host-mode port"),
                Some(host_ports) => {
                    draft.make(Change::AllocateTask { id: task.id.clone(), attachments, host_ports });
                }
            },
        }
    }
}

fn new_tasks(state: &State) -> Vec<Arc<Task>> {
    let new = |task: &&Arc<Task>| task.status.state == TaskState::New && task.desired <= TaskState::Running;
    state.tasks().values().filter(new).cloned().collect()
}

fn no_address(state: &State, network: &NetworkId) -> String {
    match state.networks().get(network) {
        Some(network) if network.is_allocated() => {
            format!("no free address on network {}", network.spec.name)
        }
        Some(network) => format!("network {} has no subnet yet", network.spec.name),
        None => format!("network {network} not found"),
    }
}

/// Why a task waits is written to its status, where `docker service ps` shows it.
fn explain(draft: &mut Draft<'_>, task: &Task, why: &str) {
    if task.status.err != why {
        draft.make(Change::MoveTask {
            id: task.id.clone(),
            owner: Owner::Allocator,
            to: TaskState::New,
            message: task.status.message.clone(),
            err: why.to_owned(),
        });
    }
}

fn attachments(
    state: &State,
    service: &Service,
    books: &mut AddressBooks,
) -> Result<Vec<Attachment>, NetworkId> {
    let networks = networks_of(state, service).into_iter();
    networks
        .map(|network| {
            let asked = service.spec.attached_networks().iter().find(|a| a.target == network.as_str());
            let aliases = asked.map(|a| a.aliases.clone()).unwrap_or_default();
            let addresses = books.next(state, &network).ok_or_else(|| network.clone())?;
            Ok(Attachment { network, addresses, aliases })
        })
        .collect()
}

/// Host-mode ports without a number get one that no other task has, wherever it runs: the node is not known yet.
#[derive(Default)]
struct HostPorts {
    taken: Option<BTreeSet<(Protocol, u16)>>,
}

impl HostPorts {
    fn of_task(&mut self, state: &State, service: &Service) -> Option<Vec<PortConfig>> {
        let asked = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
        let mut ports = Vec::new();
        for port in asked.filter(|port| port.mode() == PublishMode::Host) {
            let mut port = port.clone();
            if port.published_port == 0 {
                let taken = self.taken.get_or_insert_with(|| in_use(state));
                let protocol = port.transport();
                let mut numbers = DYNAMIC;
                port.published_port = numbers.find(|number| {
                    !taken.contains(&(protocol, *number))
                        && state.holder(&Claim::Port(protocol, *number)).is_none()
                })?;
                taken.insert((protocol, port.published_port));
            }
            ports.push(port);
        }
        Some(ports)
    }
}

fn in_use(state: &State) -> BTreeSet<(Protocol, u16)> {
    let tasks = state.tasks().values().filter(|task| !task.status.state.is_terminal());
    tasks.flat_map(|task| &task.host_ports).map(|port| (port.transport(), port.published_port)).collect()
}
