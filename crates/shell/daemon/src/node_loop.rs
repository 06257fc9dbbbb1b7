//! The node's loop: read what the managers want and what the kernel holds, repair the difference, report.
//!
//! Whatever wakes it, a pass is the same. Start-up, work, a restarted daemon and leaving the swarm are all passes.

use crate::deviations;
use crate::engine::Engine;
use crate::entropy;
use crate::foreign_hands::{self, Findings, ForeignHands};
use crate::inbound;
use crate::local_facts;
use crate::resolvers::Resolvers;
use crate::steps::Steps;
use crate::tallies;
use crate::task_container::TASK_ANNOTATION;
use crate::view::View;
use anyhow::Context;
use shoal_model::assignment::{Assignment, ImageState, Observed, ObservedContainer, TaskOp};
use shoal_model::netns::Namespaces;
use shoal_model::{NodeId, TaskId, TaskReport, TaskStatus, Timestamp};
use shoal_peer::Progress;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The kernel is compared with what was declared at least this often.
const PERIOD: Duration = Duration::from_secs(3);
/// Wakes that come closer together than this are served by one pass.
const COALESCE: Duration = Duration::from_millis(15);

/// Who this node is in the swarm.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    /// The advertised address.
    pub(crate) address: IpAddr,
    /// Where its VXLAN traffic comes from.
    pub(crate) data_path: IpAddr,
}

/// What the loop is connected to.
pub(crate) struct Connections {
    pub(crate) identity: Identity,
    /// What the managers want; version 0 until they have spoken and nothing is remembered.
    pub(crate) assignment: watch::Receiver<Arc<Assignment>>,
    /// What the managers do not know yet of the tasks.
    pub(crate) statuses: watch::Sender<Arc<Statuses>>,
    /// How far the node has come with what it was told.
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) shutdown: CancellationToken,
}

/// Statuses by task.
pub(crate) type Statuses = BTreeMap<TaskId, TaskStatus>;

/// Runs passes until shutdown.
pub(crate) async fn run(engine: Arc<Engine>, mut connections: Connections) -> anyhow::Result<()> {
    let mut node = NodeLoop::new(engine.clone(), connections.identity.clone());
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = connections.shutdown.cancelled() => return Ok(()),
            () = sleep_until(due) => {}
            () = engine.wake.notified() => {}
            changed = connections.assignment.changed() => if changed.is_err() {
                // The session ends with everything else; what is left to do is to wait for our own word.
                connections.shutdown.cancelled().await;
                return Ok(());
            },
        }
        // Events come in bursts; a pass reads everything anyway.
        drop(timeout(COALESCE, connections.shutdown.cancelled()).await);
        let wanted = connections.assignment.borrow_and_update().clone();
        due = Instant::now() + PERIOD;
        if wanted.version == 0 {
            continue;
        }
        let version = wanted.version;
        match node.pass(wanted).await {
            Ok(passed) => {
                if let Some(next) = passed.next {
                    due = due.min(Instant::now() + next.since(entropy::now()));
                }
                tell(&connections.statuses, Arc::new(passed.statuses));
                // How far it has come stays as it was while the virtual server is not as declared.
                let reached = connections.progress.borrow().applied;
                let applied = if passed.balanced { version } else { reached };
                tell(&connections.progress, Progress { applied, digest: passed.digest });
            }
            Err(error) => {
                engine.tallies.count(|counts| {
                    counts.failed_passes += 1;
                    counts.digest.clear();
                });
                tracing::error!(error = format!("{error:#}"), "the node's state cannot be compared");
            }
        }
    }
}

/// What one node no longer in a swarm does: gives back everything, in one pass with nothing wanted.
pub(crate) async fn tear_down(
    engine: Arc<Engine>,
    identity: Identity,
    deadline: Duration,
) -> anyhow::Result<()> {
    let mut node = NodeLoop::new(engine.clone(), identity);
    let until = Instant::now() + deadline;
    loop {
        node.pass(Arc::new(Assignment::default())).await?;
        if engine.view.borrow().observed.containers.is_empty() && node.steps.idle() {
            return Ok(());
        }
        if Instant::now() > until {
            anyhow::bail!("containers are still there after {deadline:?}");
        }
        drop(timeout(Duration::from_millis(200), engine.wake.notified()).await);
    }
}

struct NodeLoop {
    engine: Arc<Engine>,
    identity: Identity,
    steps: Steps,
    resolvers: Resolvers,
    /// What the last pass declared: it tells which kernel parameters to read.
    declared: Namespaces,
    foreign_hands: ForeignHands,
    /// The digest of the assignment that the last pass was given.
    digest: (Arc<Assignment>, String),
}

/// What came of a pass.
struct Passed {
    statuses: Statuses,
    /// The digest of the assignment, if the kernel holds it without any difference.
    digest: String,
    /// Whether the virtual server holds all that is declared.
    balanced: bool,
    /// When something becomes due.
    next: Option<Timestamp>,
}

/// What a pass found out with blocking calls.
struct Compared {
    view: View,
    findings: Findings,
    task_ops: Vec<TaskOp>,
    reports: Vec<TaskReport>,
    balanced: bool,
    next: Option<Timestamp>,
}

impl NodeLoop {
    fn new(engine: Arc<Engine>, identity: Identity) -> Self {
        Self {
            steps: Steps::new(engine.clone()),
            resolvers: Resolvers::new(),
            declared: Namespaces::new(),
            foreign_hands: ForeignHands::default(),
            digest: Default::default(),
            engine,
            identity,
        }
    }

    /// Reads everything, repairs, starts the tasks' next steps.
    async fn pass(&mut self, assignment: Arc<Assignment>) -> anyhow::Result<Passed> {
        let begun = Instant::now();
        let images = self.images(&assignment).await;
        let engine = self.engine.clone();
        let (identity, interest, now) =
            (self.identity.clone(), std::mem::take(&mut self.declared), entropy::now());
        let memory = self.steps.memory(&assignment, now);
        let blocking = tokio::task::spawn_blocking(move || {
            let mut observed = Observed {
                containers: containers(&engine, &memory.stopping)?,
                images,
                failures: memory.failures,
                draining: memory.draining,
            };
            inbound::count(&mut observed);
            compare(&engine, &identity, assignment, observed, &interest, now)
        });
        let compared = blocking.await??;
        let digest = self.judge(&compared, begun.elapsed());
        self.declared.clone_from(&compared.view.declared);
        self.steps.watch_containers(&compared.view.observed);
        self.steps.note_connections(&compared.view.observed);
        self.sync_resolvers(&compared.view);
        let view = Arc::new(compared.view);
        self.engine.view.send_replace(view.clone());
        self.steps.start(&view, compared.task_ops);
        let statuses = compared.reports.into_iter().map(|report| (report.id, report.status)).collect();
        Ok(Passed { statuses, digest, balanced: compared.balanced, next: compared.next })
    }

    /// Counts what a pass found, and tells of foreign hands. Answers the digest of what the kernel holds.
    fn judge(&mut self, compared: &Compared, took: Duration) -> String {
        let Compared { view, findings, .. } = compared;
        if !Arc::ptr_eq(&self.digest.0, &view.assignment) {
            self.digest = (view.assignment.clone(), shoal_agent::digest(&view.assignment));
        }
        let digest = if findings.holds { self.digest.1.clone() } else { String::new() };
        let foreign = self.foreign_hands.judge(&view.declared, &view.table, findings);
        foreign_hands::log(&foreign);
        self.engine.tallies.count(|counts| {
            tallies::add(&mut counts.found, findings.namespaces.iter().chain(&findings.balancing));
            tallies::add(&mut counts.foreign, foreign);
            counts.passes += 1;
            counts.pass_time += took;
            counts.digest.clone_from(&digest);
            counts.tasks = by_state(&view.assignment, &compared.reports);
        });
        digest
    }

    /// Whether the images that tasks want are there.
    async fn images(&self, assignment: &Assignment) -> BTreeMap<String, ImageState> {
        let mut states = BTreeMap::new();
        let wanted: BTreeSet<String> =
            assignment.tasks.values().map(|t| t.spec.container().image.clone()).collect();
        for image in wanted {
            let state = if self.steps.fetching(&image) {
                ImageState::Fetching
            } else if self.engine.images.find(&image).await.is_ok() {
                ImageState::Present
            } else {
                ImageState::Missing
            };
            states.insert(image, state);
        }
        states
    }

    fn sync_resolvers(&mut self, view: &View) {
        let Some(facts) = &view.facts else { return };
        let mut wanted = BTreeMap::new();
        for (task, mut zone) in shoal_agent::zones(&view.assignment, facts) {
            // A service's own name servers win over the daemon's.
            if zone.forward_to.is_empty() {
                zone.forward_to.clone_from(&self.engine.config.dns);
            }
            let sandbox = shoal_agent::names::short_container_id(&task);
            let name = shoal_model::netns::NamespaceName::Named(sandbox.clone());
            if view.declared.contains_key(&name) && view.namespaces.contains_key(&name) {
                wanted.insert(task, (sandbox, zone));
            }
        }
        self.resolvers.sync(&self.engine, wanted);
    }
}

/// How many tasks there are in each state: the one that the managers know, unless they are about to hear of another.
fn by_state(assignment: &Assignment, reports: &[TaskReport]) -> BTreeMap<String, u64> {
    let mut states: BTreeMap<&TaskId, _> =
        assignment.tasks.iter().map(|(id, task)| (id, task.known)).collect();
    states.extend(reports.iter().map(|report| (&report.id, report.status.state)));
    let mut counts = BTreeMap::new();
    for state in states.values() {
        *counts.entry(state.as_str().to_owned()).or_default() += 1;
    }
    counts
}

/// Publishes a value if it is a new one.
fn tell<T: PartialEq>(to: &watch::Sender<T>, value: T) {
    to.send_if_modified(|current| {
        let news = *current != value;
        if news {
            *current = value;
        }
        news
    });
}

/// The containers of tasks as the runtime sees them.
fn containers(
    engine: &Arc<Engine>,
    stopping: &BTreeMap<TaskId, Timestamp>,
) -> anyhow::Result<BTreeMap<TaskId, ObservedContainer>> {
    let mut containers = BTreeMap::new();
    for info in engine.runtime.list().context("reading the containers")? {
        let Some(task) = info.annotations.get(TASK_ANNOTATION).and_then(|t| t.parse::<TaskId>().ok()) else {
            continue;
        };
        let stopping_since = stopping.get(&task).copied();
        let container = ObservedContainer { id: info.id, state: info.state, health: None, stopping_since };
        containers.insert(task, container);
    }
    // What runs is probed from now on, so that no container counts as well before its first probe.
    engine.probes.sync(engine, &containers);
    for container in containers.values_mut() {
        container.health = engine.probes.of(&container.id);
    }
    Ok(containers)
}

/// Compares what is wanted with what is there, and repairs namespaces and the virtual server.
fn compare(
    engine: &Engine,
    identity: &Identity,
    assignment: Arc<Assignment>,
    observed: Observed,
    interest: &Namespaces,
    now: Timestamp,
) -> anyhow::Result<Compared> {
    let _still = engine.stand_still();
    let mut namespaces = engine.host.observe(interest).context("reading the namespaces")?;
    let facts = local_facts::observe(engine, identity, &namespaces)?;
    let declared = shoal_agent::declare(&assignment, &observed, &namespaces, &facts, now);
    if declared.values().any(|n| !n.sysctls.is_empty()) && interest.is_empty() {
        namespaces = engine.host.observe(&declared).context("reading the namespaces")?;
    }
    let mut findings = Findings::default();
    let differences = shoal_agent::diff(&declared, &namespaces);
    if !differences.is_empty() {
        findings.namespaces = shoal_agent::deviations(&declared, &namespaces);
        tracing::debug!(count = differences.len(), first = ?differences.first(), "namespaces differ");
        for (index, error) in engine.host.apply_all(&differences) {
            tracing::warn!(operation = ?differences.get(index), error = chain(&error), "not repaired");
        }
        namespaces = engine.host.observe(&declared).context("reading the namespaces")?;
    }
    let table = shoal_agent::table(&assignment, &observed, &declared, &facts);
    let balanced = sync_virtual_server(engine, &table, &mut findings);
    findings.holds = balanced && shoal_agent::deviations(&declared, &namespaces).is_empty();
    let task_ops = shoal_agent::plan(&assignment, &observed, &declared, &namespaces, now);
    let reports = shoal_agent::reports(&assignment, &observed, &declared, &namespaces, now);
    let next = shoal_agent::next_wake(&assignment, &observed, now);
    let view = View { assignment, observed, declared, namespaces, table, facts: Some(facts) };
    Ok(Compared { view, findings, task_ops, reports, balanced, next })
}

/// Repairs the virtual server; answers whether it is as declared then.
fn sync_virtual_server(engine: &Engine, table: &shoal_model::lvs::Table, findings: &mut Findings) -> bool {
    match engine.balancer.sync(table) {
        Ok((found, left)) => {
            for difference in &found {
                tracing::debug!(%difference, "virtual server");
            }
            findings.balancing = found.iter().map(deviations::of_balancing).collect();
            left.is_empty()
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "the virtual server is not as declared");
            false
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
