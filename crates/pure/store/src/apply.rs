//! From one log entry to the next.

use crate::{Batch, Change, Entry, Kind, Object, ObjectKey, Rejected, State};
use shoal_model::spec::ServiceSpec;
use shoal_model::task::{Owner, may_move};
use shoal_model::{
    ConfigId, NetworkId, Node, NodeId, SecretId, Service, ServiceId, Task, TaskId, TaskReport, TaskState,
    Timestamp, Version,
};
use std::sync::Arc;

/// Applies log entry `index`. Deterministic: the same entries give the same state on every manager. Each batch is
/// applied whole or leaves no trace; the answers are in the order of the batches.
pub fn apply(state: &mut State, index: u64, entry: &Entry) -> Vec<Result<(), Rejected>> {
    state.index = index;
    entry.batches.iter().map(|batch| apply_batch(state, index, batch)).collect()
}

/// Tries one change out on a draft of the state, as [`apply`] would make it in log entry `index`. A change that is
/// refused leaves no trace.
pub fn try_change(state: &mut State, index: u64, now: Timestamp, change: &Change) -> Result<(), Rejected> {
    state.index = index;
    let mut write = Write::new(state, index, now);
    let outcome = write.change(change);
    if outcome.is_err() {
        write.roll_back();
    }
    outcome
}

fn apply_batch(state: &mut State, index: u64, batch: &Batch) -> Result<(), Rejected> {
    let mut write = Write::new(state, index, batch.now);
    let outcome = batch.changes.iter().try_for_each(|change| write.change(change));
    if outcome.is_err() {
        write.roll_back();
    }
    outcome
}

/// One batch on its way into the state.
struct Write<'a> {
    state: &'a mut State,
    index: u64,
    now: Timestamp,
    /// What stood where before, in the order of writing.
    undo: Vec<(ObjectKey, Option<Object>)>,
    planned_before: u64,
}

impl<'a> Write<'a> {
    fn new(state: &'a mut State, index: u64, now: Timestamp) -> Self {
        let planned_before = state.planned;
        Self { state, index, now, undo: Vec::new(), planned_before }
    }

    fn set(&mut self, key: ObjectKey, value: Option<Object>) -> Result<(), Rejected> {
        let old = self.state.set(&key, value)?;
        self.undo.push((key, old));
        Ok(())
    }

    fn roll_back(&mut self) {
        self.state.planned = self.planned_before;
        while let Some((key, old)) = self.undo.pop() {
            // What stood there before cannot clash with what stood beside it then.
            let undone = self.state.set(&key, old);
            debug_assert!(undone.is_ok(), "{undone:?}");
        }
    }

    fn change(&mut self, change: &Change) -> Result<(), Rejected> {
        match change {
            Change::Plan { base } => self.plan(*base),
            Change::Create(object) => self.create(object),
            Change::Update(object) => self.update(object),
            Change::Remove { key, if_version } => self.remove(key, *if_version),
            Change::ReportTasks { owner, reports } => {
                reports.iter().try_for_each(|report| self.report_task(*owner, report))
            }
            Change::MoveTask { id, owner, to, message, err } => self.move_task(id, *owner, *to, |task| {
                task.status.message.clone_from(message);
                task.status.err.clone_from(err);
            }),
            Change::SetDesired { id, to } => self.set_desired(id, *to),
            Change::AllocateTask { id, attachments, host_ports } => {
                self.move_task(id, Owner::Allocator, TaskState::Pending, |task| {
                    task.attachments.clone_from(attachments);
                    task.host_ports.clone_from(host_ports);
                    "pending task scheduling".clone_into(&mut task.status.message);
                    task.status.err.clear();
                })
            }
            Change::AssignTask { id, node, message } => {
                self.exists(&ObjectKey::Node(node.clone()))?;
                self.move_task(id, Owner::Scheduler, TaskState::Assigned, |task| {
                    task.node = Some(node.clone());
                    task.status.message.clone_from(message);
                    task.status.err.clear();
                })
            }
            Change::AllocateService { id, endpoint } => {
                self.alter_service(id, |service| service.endpoint.clone_from(endpoint))
            }
            Change::SetUpdateStatus { id, if_spec_version, status } => {
                let stored = self.service(id)?;
                if stored.spec_version != *if_spec_version {
                    return Err(Rejected::OutOfSequence { key: id.clone().into() });
                }
                self.alter_service(id, |service| service.update_status.clone_from(status))
            }
            Change::AllocateNetwork { id, subnets, vni } => self.alter_network(id, subnets, *vni),
            Change::AttachNode { id, network, attachment } => self.alter_node(id, |node| match attachment {
                Some(own) => _ = node.attachments.insert(network.clone(), own.clone()),
                None => _ = node.attachments.remove(network),
            }),
            Change::ReportNode { id, description, status } => self.alter_node(id, |node| {
                if let Some(description) = description {
                    node.description.clone_from(description.as_ref());
                }
                if let Some(status) = status {
                    node.status.clone_from(status);
                }
            }),
            Change::SetNodeState { id, state, message } => {
                let now = self.now;
                self.alter_node(id, |node| {
                    if node.status.state != *state {
                        node.status.since = now;
                    }
                    node.status.state = *state;
                    node.status.message.clone_from(message);
                })
            }
        }
    }

    fn plan(&mut self, base: u64) -> Result<(), Rejected> {
        if base < self.state.planned {
            return Err(Rejected::Overtaken { base, by: self.state.planned });
        }
        self.state.planned = self.index;
        Ok(())
    }

    fn exists(&self, key: &ObjectKey) -> Result<(), Rejected> {
        self.state.get(key).map(drop).ok_or_else(|| Rejected::NotFound { key: key.clone() })
    }

    fn create(&mut self, object: &Object) -> Result<(), Rejected> {
        let key = object.key();
        if self.state.get(&key).is_some() || (key.kind() == Kind::Cluster && self.state.cluster.is_some()) {
            return Err(Rejected::Exists { key });
        }
        let mut object = object.clone();
        *object.meta_mut() = shoal_model::Meta::created(self.index, self.now);
        match &mut object {
            Object::Service(service) => {
                self.check_references(&service.spec)?;
                Arc::make_mut(service).spec_version = Version { index: self.index };
            }
            Object::Task(task) => self.exists(&ObjectKey::Service(task.service.clone()))?,
            _ => {}
        }
        self.set(key, Some(object))
    }

    fn update(&mut self, object: &Object) -> Result<(), Rejected> {
        let key = object.key();
        let stored = self.state.get(&key).ok_or_else(|| Rejected::NotFound { key: key.clone() })?;
        if object.meta().version != stored.meta().version {
            return Err(Rejected::OutOfSequence { key });
        }
        let mut object = object.clone();
        let mut meta = *stored.meta();
        meta.touch(self.index, self.now);
        *object.meta_mut() = meta;
        match (&mut object, &stored) {
            (Object::Service(new), Object::Service(old)) => self.update_spec(Arc::make_mut(new), old)?,
            (Object::Task(new), Object::Task(old)) => check_task_update(new, old)?,
            _ => {}
        }
        self.set(key, Some(object))
    }

    /// The spec's version moves with the spec, whoever writes it.
    fn update_spec(&self, new: &mut Service, old: &Service) -> Result<(), Rejected> {
        new.spec_version = old.spec_version;
        if new.spec == old.spec {
            return Ok(());
        }
        self.check_references(&new.spec)?;
        // Back at the previous spec, tasks made from it are up to date again.
        let back = old.previous_spec.as_ref() == Some(&new.spec);
        let version = old.previous_spec_version.filter(|_| back);
        new.spec_version = version.unwrap_or(Version { index: self.index });
        if new.previous_spec.as_ref() == Some(&old.spec) {
            new.previous_spec_version = Some(old.spec_version);
        }
        Ok(())
    }

    fn remove(&mut self, key: &ObjectKey, if_version: Option<Version>) -> Result<(), Rejected> {
        let stored = self.state.get(key).ok_or_else(|| Rejected::NotFound { key: key.clone() })?;
        if if_version.is_some_and(|version| version != stored.meta().version) {
            return Err(Rejected::OutOfSequence { key: key.clone() });
        }
        if let Some(by) = self.user_of(key) {
            return Err(Rejected::InUse { key: key.clone(), by });
        }
        self.set(key.clone(), None)
    }

    /// A service that refers to the object. Checked here as well as at the door, because two requests may pass the door
    /// at the same time.
    fn user_of(&self, key: &ObjectKey) -> Option<ObjectKey> {
        let refers = |spec: &ServiceSpec| match key {
            ObjectKey::Network(id) => spec.attached_networks().iter().any(|n| n.target == id.as_str()),
            ObjectKey::Secret(id) => {
                spec.task_template.container().secrets.iter().any(|s| s.secret_id == id.as_str())
            }
            ObjectKey::Config(id) => {
                spec.task_template.container().configs.iter().any(|c| c.config_id == id.as_str())
            }
            _ => false,
        };
        if !matches!(key.kind(), Kind::Network | Kind::Secret | Kind::Config) {
            return None;
        }
        self.state.services().values().find(|s| refers(&s.spec)).map(|s| s.id.clone().into())
    }

    /// Whatever a spec names by id must be there. Names that are no ids (`host`, `bridge`) are the node's own networks.
    fn check_references(&self, spec: &ServiceSpec) -> Result<(), Rejected> {
        let container = spec.task_template.container();
        let networks = spec.attached_networks().iter().filter_map(|n| n.target.parse::<NetworkId>().ok());
        let secrets = container.secrets.iter().filter_map(|s| s.secret_id.parse::<SecretId>().ok());
        let configs = container.configs.iter().filter_map(|c| c.config_id.parse::<ConfigId>().ok());
        networks
            .map(ObjectKey::from)
            .chain(secrets.map(ObjectKey::from))
            .chain(configs.map(ObjectKey::from))
            .try_for_each(|key| self.exists(&key))
    }

    fn task(&self, id: &TaskId) -> Result<Arc<Task>, Rejected> {
        let found = self.state.tasks().get(id).cloned();
        found.ok_or_else(|| Rejected::NotFound { key: id.clone().into() })
    }

    fn service(&self, id: &ServiceId) -> Result<Arc<Service>, Rejected> {
        let found = self.state.services().get(id).cloned();
        found.ok_or_else(|| Rejected::NotFound { key: id.clone().into() })
    }

    fn report_task(&mut self, owner: Owner, report: &TaskReport) -> Result<(), Rejected> {
        let Some(stored) = self.state.tasks().get(&report.id).cloned() else { return Ok(()) };
        if !may_move(owner, stored.status.state, report.status.state) {
            return Ok(());
        }
        let mut status = report.status.clone();
        // Nodes' clocks may be wrong; the log's time is the one that windows and delays are measured against.
        let moved = status.state != stored.status.state;
        status.timestamp = if moved { self.now } else { stored.status.timestamp };
        status.container = status.container.or_else(|| stored.status.container.clone());
        if status == stored.status {
            return Ok(());
        }
        let mut task = stored;
        let changed = Arc::make_mut(&mut task);
        if moved && status.state == TaskState::Running {
            changed.running_since = self.now;
        }
        changed.status = status;
        changed.meta.touch(self.index, self.now);
        self.set(report.id.clone().into(), Some(task.into()))
    }

    fn move_task(
        &mut self,
        id: &TaskId,
        owner: Owner,
        to: TaskState,
        alter: impl FnOnce(&mut Task),
    ) -> Result<(), Rejected> {
        let mut task = self.task(id)?;
        let from = task.status.state;
        if !may_move(owner, from, to) {
            return Err(Rejected::BadTransition { id: id.clone(), owner, from, to });
        }
        let changed = Arc::make_mut(&mut task);
        alter(changed);
        if from != to {
            changed.status.state = to;
            changed.status.timestamp = self.now;
        }
        changed.meta.touch(self.index, self.now);
        self.set(id.clone().into(), Some(task.into()))
    }

    fn set_desired(&mut self, id: &TaskId, to: TaskState) -> Result<(), Rejected> {
        let mut task = self.task(id)?;
        let from = task.desired;
        if to < from {
            return Err(Rejected::DesiredBackwards { id: id.clone(), from, to });
        }
        if to == from {
            return Ok(());
        }
        let changed = Arc::make_mut(&mut task);
        changed.desired = to;
        changed.meta.touch(self.index, self.now);
        self.set(id.clone().into(), Some(task.into()))
    }

    /// Writing what is there already is no write: nobody's update falls out of sequence by it.
    fn alter_service(&mut self, id: &ServiceId, alter: impl FnOnce(&mut Service)) -> Result<(), Rejected> {
        let stored = self.service(id)?;
        let mut service = Arc::clone(&stored);
        let changed = Arc::make_mut(&mut service);
        alter(changed);
        if *changed == *stored {
            return Ok(());
        }
        changed.meta.touch(self.index, self.now);
        self.set(id.clone().into(), Some(service.into()))
    }

    fn alter_network(
        &mut self,
        id: &NetworkId,
        subnets: &[shoal_model::network::Subnet],
        vni: u32,
    ) -> Result<(), Rejected> {
        let found = self.state.networks().get(id).cloned();
        let mut network = found.ok_or_else(|| Rejected::NotFound { key: id.clone().into() })?;
        if network.subnets == subnets && network.vni == vni {
            return Ok(());
        }
        let changed = Arc::make_mut(&mut network);
        changed.subnets = subnets.to_vec();
        changed.vni = vni;
        changed.meta.touch(self.index, self.now);
        self.set(id.clone().into(), Some(network.into()))
    }

    fn alter_node(&mut self, id: &NodeId, alter: impl FnOnce(&mut Node)) -> Result<(), Rejected> {
        let found = self.state.nodes().get(id).cloned();
        let stored = found.ok_or_else(|| Rejected::NotFound { key: id.clone().into() })?;
        let mut node = Arc::clone(&stored);
        let changed = Arc::make_mut(&mut node);
        alter(changed);
        if *changed == *stored {
            return Ok(());
        }
        changed.meta.touch(self.index, self.now);
        self.set(id.clone().into(), Some(node.into()))
    }
}

/// A task written whole must obey the same rules as one that is moved.
fn check_task_update(new: &Task, old: &Task) -> Result<(), Rejected> {
    let (from, to) = (old.status.state, new.status.state);
    if new.desired < old.desired {
        return Err(Rejected::DesiredBackwards { id: new.id.clone(), from: old.desired, to: new.desired });
    }
    if !may_move(Owner::Orchestrator, from, to) {
        return Err(Rejected::BadTransition { id: new.id.clone(), owner: Owner::Orchestrator, from, to });
    }
    Ok(())
}
