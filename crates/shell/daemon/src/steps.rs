//! Carries out what the plan says for tasks: one step a task at a time, each in the background, its failure remembered
//! for the next plan.

use crate::engine::Engine;
use crate::entropy;
use crate::node_loop::chain;
use crate::readiness;
use crate::task_container::{self, Surroundings};
use crate::view::View;
use anyhow::{Context, anyhow};
use shoal_model::TaskId;
use shoal_model::Timestamp;
use shoal_model::assignment::{
    Assignment, ContainerState, Draining, Observed, StepFailure, TaskAssignment, TaskOp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;

/// How long a container may take to end after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// Time between the stop signal and SIGKILL where the spec says nothing, as Docker's.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Steps on their way, and what is remembered of those that ended.
pub(crate) struct Steps {
    engine: Arc<Engine>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Tasks with a step on its way.
    busy: BTreeSet<TaskId>,
    /// Images being fetched.
    fetching: BTreeSet<String>,
    /// Containers whose end is being waited for.
    watched: BTreeSet<String>,
    stopping: BTreeMap<TaskId, Timestamp>,
    failures: BTreeMap<TaskId, StepFailure>,
    draining: BTreeMap<TaskId, Draining>,
}

/// What is remembered of steps, as the plan wants it.
pub(crate) struct Memory {
    pub(crate) stopping: BTreeMap<TaskId, Timestamp>,
    pub(crate) failures: BTreeMap<TaskId, StepFailure>,
    pub(crate) draining: BTreeMap<TaskId, Draining>,
}

/// Why a step failed, and whether another try may help.
struct Failure {
    message: String,
    retry: bool,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { message: format!("{error:#}"), retry: true }
    }
}

impl Steps {
    /// Nothing is on its way.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, shared: Arc::default() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no step is on its way.
    pub(crate) fn idle(&self) -> bool {
        self.shared().busy.is_empty()
    }

    /// Whether an image is being fetched.
    pub(crate) fn fetching(&self, image: &str) -> bool {
        self.shared().fetching.contains(image)
    }

    /// What is remembered; what belongs to no assigned task is forgotten.
    pub(crate) fn memory(&self, assignment: &Assignment, now: Timestamp) -> Memory {
        let mut shared = self.shared();
        shared.failures.retain(|task, _| assignment.tasks.contains_key(task));
        shared.draining = shoal_agent::draining(&shared.draining, assignment, now);
        Memory {
            stopping: shared.stopping.clone(),
            failures: shared.failures.clone(),
            draining: shared.draining.clone(),
        }
    }

    /// Remembers the connections of tasks that drain, as far as they are still followed.
    pub(crate) fn note_connections(&self, observed: &Observed) {
        let mut shared = self.shared();
        for (task, seen) in &observed.draining {
            if let Some(draining) = shared.draining.get_mut(task) {
                draining.connections = seen.connections;
            }
        }
    }

    /// Starts the steps of tasks that have none on its way.
    pub(crate) fn start(&self, view: &Arc<View>, ops: Vec<TaskOp>) {
        for op in ops {
            let task = task_of(&op).clone();
            if !self.shared().busy.insert(task.clone()) {
                continue;
            }
            let step =
                Step { engine: self.engine.clone(), shared: self.shared.clone(), view: view.clone(), task };
            self.engine.supervisor.spawn(step.run(op));
        }
    }

    /// Waits in the background for each running container's end, which wakes the node loop.
    pub(crate) fn watch_containers(&self, observed: &Observed) {
        for container in observed.containers.values() {
            let running = matches!(container.state, ContainerState::Running { .. });
            if !running || !self.shared().watched.insert(container.id.clone()) {
                continue;
            }
            let (engine, shared, id) = (self.engine.clone(), self.shared.clone(), container.id.clone());
            self.engine.supervisor.spawn(async move {
                if let Err(error) = container_changed(&engine, &id).await {
                    tracing::debug!(container = id, error = format!("{error:#}"), "cannot be watched");
                }
                shared.lock().unwrap_or_else(PoisonError::into_inner).watched.remove(&id);
                engine.wake.notify_one();
            });
        }
    }
}

/// Returns when a container's state changes, or when the daemon ends.
pub(crate) async fn container_changed(engine: &Engine, id: &str) -> anyhow::Result<()> {
    let descriptor = readiness::watch(engine.runtime.wait_fd(id)?, Interest::READABLE)?;
    tokio::select! {
        ready = descriptor.readable() => drop(ready?),
        () = engine.supervisor.shutdown().cancelled() => {}
    }
    Ok(())
}

fn task_of(op: &TaskOp) -> &TaskId {
    match op {
        TaskOp::FetchImage { task, .. }
        | TaskOp::Create(task)
        | TaskOp::Start(task)
        | TaskOp::Stop(task)
        | TaskOp::Remove(task) => task,
    }
}

struct Step {
    engine: Arc<Engine>,
    shared: Arc<Mutex<Shared>>,
    view: Arc<View>,
    task: TaskId,
}

impl Step {
    async fn run(self, op: TaskOp) {
        tracing::debug!(task = %self.task, ?op, "step");
        let result = match &op {
            TaskOp::FetchImage { image, .. } => self.fetch(image).await,
            TaskOp::Create(_) => self.create().await,
            TaskOp::Start(_) => self.start().await,
            TaskOp::Stop(_) => self.stop().await,
            TaskOp::Remove(_) => self.remove().await,
        };
        let mut shared = self.shared();
        shared.busy.remove(&self.task);
        match result {
            Ok(()) => {
                shared.failures.remove(&self.task);
            }
            Err(failure) => {
                tracing::warn!(task = %self.task, ?op, error = failure.message, retry = failure.retry, "step failed");
                let attempts = shared.failures.get(&self.task).map_or(0, |f| f.attempts) + 1;
                let failure = StepFailure {
                    message: failure.message,
                    retry: failure.retry,
                    at: entropy::now(),
                    attempts,
                };
                shared.failures.insert(self.task.clone(), failure);
            }
        }
        drop(shared);
        self.engine.wake.notify_one();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assigned(&self) -> Result<&TaskAssignment, Failure> {
        let task = self.view.assignment.tasks.get(&self.task);
        task.ok_or_else(|| Failure { message: "the task is no longer assigned".to_owned(), retry: true })
    }

    /// The id of the task's container, from what was seen.
    fn container_id(&self) -> String {
        let seen = self.view.observed.containers.get(&self.task);
        seen.map_or_else(|| shoal_agent::names::container_id(&self.task), |c| c.id.clone())
    }

    async fn fetch(&self, image: &str) -> Result<(), Failure> {
        let auth = self.view.assignment.tasks.get(&self.task).and_then(|task| task.registry_auth.clone());
        if !self.shared().fetching.insert(image.to_owned()) {
            return Ok(());
        }
        let fetched = crate::backend::images::fetch(&self.engine, image, auth.as_deref()).await;
        self.shared().fetching.remove(image);
        // Docker rejects a task whose image cannot be had; its replacement tries again after the restart delay.
        fetched.map_err(|message| Failure { message, retry: false })
    }

    async fn create(&self) -> Result<(), Failure> {
        let task = self.assigned()?;
        let facts = self.view.facts.as_ref().ok_or_else(|| anyhow!("not in a swarm"))?;
        let found =
            self.engine.images.find(&task.spec.container().image).await.map_err(|e| anyhow!(chain(&e)))?;
        let layers = self.engine.images.root_layers(&found.id).await.map_err(|e| anyhow!(chain(&e)))?;
        let image = crate::backend::images::wire_image(&found);
        let id = self.container_id();
        let directory = self.engine.records.directory(&id);
        let volumes = self.engine.config.data_root.join("volumes");
        let around = Surroundings {
            assignment: &self.view.assignment,
            node: &facts.node,
            node_hostname: &facts.hostname,
            image: &image,
            layers,
            directory: &directory,
            volumes: &volumes,
            sandbox: self.engine.namespace_path(&shoal_agent::names::short_container_id(&self.task)),
            log_path: self.engine.records.log_path(&id),
            now: entropy::now(),
        };
        let built = task_container::build(task, &id, &around);
        let (record, spec) = built.map_err(|e| Failure { message: e.to_string(), retry: e.may_pass() })?;
        let engine = self.engine.clone();
        let name = record.name.clone();
        let made = tokio::task::spawn_blocking(move || {
            for mount in spec.mounts.iter().filter(|m| m.source.starts_with(&volumes)) {
                std::fs::create_dir_all(&mount.source).context("making a volume")?;
            }
            engine.records.write(&record).context("keeping the container's record")?;
            engine.events.publish(
                "container",
                "create",
                &record.id,
                attributes(&record),
                shoal_wire::event::Scope::Local,
            );
            anyhow::Ok(engine.runtime.create(&spec))
        });
        let made = made.await.context("making the container")??;
        match made {
            // An earlier step made it, and the view that this one was planned from is older than that.
            Ok(()) | Err(shoal_runtime::Error::Exists(_)) => Ok(()),
            Err(e) => Err(Failure { message: format!("{name}: {}", chain(&e)), retry: !is_lasting(&e) }),
        }
    }

    async fn start(&self) -> Result<(), Failure> {
        let (engine, id) = (self.engine.clone(), self.container_id());
        let started = tokio::task::spawn_blocking(move || {
            let started = engine.runtime.start(&id);
            if started.is_ok() {
                publish(&engine, "start", &id, &[]);
            }
            started
        });
        let started = started.await.context("starting the container")?;
        match started {
            // An earlier step started it, and the view that this one was planned from is older than that.
            Ok(()) | Err(shoal_runtime::Error::Started(_)) => Ok(()),
            Err(e) => Err(Failure {
                message: format!("starting container failed: {}", chain(&e)),
                retry: !is_lasting(&e),
            }),
        }
    }

    async fn stop(&self) -> Result<(), Failure> {
        let id = self.container_id();
        self.shared().stopping.insert(self.task.clone(), entropy::now());
        let grace = self.assigned().ok().and_then(|t| t.spec.container().stop_grace_period);
        let grace = grace.and_then(|n| u64::try_from(n).ok()).map_or(STOP_GRACE, Duration::from_nanos);
        self.engine.wake.notify_one();
        let draining = self.view.observed.draining.get(&self.task);
        if let Some(left) = draining.map(|d| d.connections).filter(|connections| *connections > 0) {
            tracing::warn!(task = %self.task, connections = left, "connections outlived the grace period");
        }
        // That it was told to stop is remembered until it is removed: it tells how its end is to be understood.
        Ok(stop_container(&self.engine, &id, None, Some(grace)).await?)
    }

    async fn remove(&self) -> Result<(), Failure> {
        let (engine, id) = (self.engine.clone(), self.container_id());
        tokio::task::spawn_blocking(move || remove_container(&engine, &id)).await.context("removing")??;
        self.shared().stopping.remove(&self.task);
        Ok(())
    }
}

/// Whether trying again is useless.
fn is_lasting(error: &shoal_runtime::Error) -> bool {
    use shoal_runtime::Error;
    matches!(error, Error::InvalidSpec(_) | Error::Command { .. } | Error::Refused(_))
}

/// Sends the stop signal, and SIGKILL after `grace` (never without one); returns when the container has ended.
pub(crate) async fn stop_container(
    engine: &Arc<Engine>,
    id: &str,
    signal: Option<i32>,
    grace: Option<Duration>,
) -> anyhow::Result<()> {
    let signal = match signal {
        Some(signal) => signal,
        None => {
            engine.records.read(id)?.and_then(|r| signal_number(&r.stop_signal)).unwrap_or(nix::libc::SIGTERM)
        }
    };
    send_signal(engine, id, signal).await?;
    let patience = grace.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
    if tokio::time::timeout(patience, ended(engine, id)).await.is_ok() {
        return Ok(());
    }
    send_signal(engine, id, nix::libc::SIGKILL).await?;
    tokio::time::timeout(KILL_DEADLINE, ended(engine, id))
        .await
        .context("the container did not end after SIGKILL")?
}

/// Sends a signal; a container that has ended meanwhile is fine.
pub(crate) async fn send_signal(engine: &Arc<Engine>, id: &str, signal: i32) -> anyhow::Result<()> {
    let (engine, id) = (engine.clone(), id.to_owned());
    tokio::task::spawn_blocking(move || match engine.runtime.signal(&id, signal) {
        Ok(()) => {
            publish(&engine, "kill", &id, &[("signal", signal.to_string())]);
            Ok(())
        }
        Err(shoal_runtime::Error::NotRunning(_) | shoal_runtime::Error::NotFound(_)) => Ok(()),
        Err(error) => Err(anyhow!(chain(&error))),
    })
    .await?
}

/// Returns once a container does not run.
pub(crate) async fn ended(engine: &Arc<Engine>, id: &str) -> anyhow::Result<()> {
    loop {
        // The descriptor first, then the state: a change between the two is not missed.
        let changed = container_changed(engine, id);
        let (asked, name) = (engine.clone(), id.to_owned());
        let state = tokio::task::spawn_blocking(move || asked.runtime.state(&name)).await??;
        if !state.is_some_and(|s| matches!(s.state, ContainerState::Running { .. })) {
            return Ok(());
        }
        // A watch that fails at once must not turn this into a busy loop.
        drop(tokio::time::timeout(Duration::from_millis(500), changed).await);
    }
}

/// Removes an ended container with all that belongs to it.
pub(crate) fn remove_container(engine: &Engine, id: &str) -> anyhow::Result<()> {
    publish(engine, "destroy", id, &[]);
    engine.runtime.remove(id).map_err(|e| anyhow!(chain(&e)))?;
    engine.records.remove(id).with_context(|| format!("removing {}", engine.records.directory(id).display()))
}

/// Tells of something that happened to a container, with its labels as Docker does.
pub(crate) fn publish(engine: &Engine, action: &str, id: &str, more: &[(&str, String)]) {
    let mut facts = engine.records.read(id).ok().flatten().map(|r| attributes(&r)).unwrap_or_default();
    facts.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    engine.events.publish("container", action, id, facts, shoal_wire::event::Scope::Local);
}

fn attributes(record: &crate::record::Record) -> BTreeMap<String, String> {
    let mut facts: BTreeMap<String, String> = record.labels.clone().into_iter().collect();
    facts.insert("image".to_owned(), record.image.clone());
    facts.insert("name".to_owned(), record.name.clone());
    facts
}

/// The number of a signal given as `SIGTERM`, `TERM` or `15`.
pub(crate) fn signal_number(text: &str) -> Option<i32> {
    use nix::sys::signal::Signal;
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse::<Signal>().ok().map(|s| s as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("kill"), Some(9));
        assert_eq!(signal_number("28"), Some(28));
        assert_eq!(signal_number("0"), None);
        assert_eq!(signal_number("NOPE"), None);
    }
}
