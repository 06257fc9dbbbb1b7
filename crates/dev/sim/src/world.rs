//! The whole cluster in one thread: a virtual clock, a queue of what happens next, and nothing that is not decided by the
//! seed.

use crate::brain::Brain;
use crate::host::{Host, Image, Pace, Surroundings};
use crate::invariants::{Broken, Watch};
use crate::links::Links;
use crate::managers::{Managers, Source};
use crate::trace::Trace;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use shoal_control::{Founding, Liveness, Plan, bootstrap};
use shoal_model::cluster::{ClusterSpec, JoinTokens};
use shoal_model::node::{NodeDescription, NodeResources, NodeRole, NodeSpec, NodeState, NodeStatus};
use shoal_model::spec::Platform;
use shoal_model::{Assignment, ClusterId, Meta, Node, NodeId, TaskReport, Timestamp};
use shoal_store::{Batch, Change, Entry, Object, Rejected, State};
use std::collections::BTreeMap;
use std::time::Duration;

/// When virtual time begins: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// Between two looks of a host at itself.
const HOST_STEP: Duration = Duration::from_millis(250);
/// Between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two looks of the leader at what is due anyway.
const PULSE: Duration = Duration::from_secs(1);
/// Between two looks of the leader for silent nodes.
const LISTEN: Duration = Duration::from_millis(100);
/// How long a commit takes.
const COMMIT: Duration = Duration::from_millis(5);
/// How long managers wait before they elect another leader.
const ELECTION: Duration = Duration::from_secs(2);

/// What happens next.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    HostStep(NodeId),
    Heartbeat(NodeId),
    HeartbeatArrives { node: NodeId, held: u64, term: u64 },
    WordArrives { node: NodeId, held: u64, term: u64 },
    ReportsArrive { reports: Vec<TaskReport>, term: u64 },
    AssignmentArrives { node: NodeId, assignment: Box<Assignment> },
    Commit { source: Source, entry: Entry, term: u64 },
    Follow(usize),
    Pulse,
    Listen,
    Think,
}

/// The whole cluster.
pub struct World {
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha12Rng,
    /// For what is said so often that it should not stir everything else.
    whispers: ChaCha12Rng,
    queue: BTreeMap<(Timestamp, u64), Event>,
    sequence: u64,
    brain: Box<dyn Brain>,
    pub(crate) managers: Managers,
    pub(crate) liveness: Liveness,
    pub(crate) hosts: BTreeMap<NodeId, Host>,
    pub(crate) links: Links,
    pub(crate) images: BTreeMap<String, Image>,
    pub(crate) pace: Pace,
    pub(crate) trace: Trace,
    pub(crate) watch: Watch,
    /// Whether a plan is on its way through the log.
    planning: bool,
    leaderless_since: Option<Timestamp>,
    /// When the control loop is due although nothing happens.
    thinks_at: Option<Timestamp>,
}

impl World {
    /// A new swarm of `nodes` machines, of which the first `managers` manage.
    pub fn new(brain: Box<dyn Brain>, nodes: usize, managers: usize, seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let ids: Vec<_> = (0..nodes).map(|_| NodeId::from_random(rng.random())).collect();
        let hosts = ids.iter().zip(1..).map(|(id, n)| (id.clone(), Host::new(id.clone(), format!("n{n}"))));
        let mut world = Self {
            now: START,
            queue: BTreeMap::new(),
            sequence: 0,
            brain,
            managers: Managers::new(&ids[..managers.min(nodes)]),
            liveness: Liveness { leader_since: START, ..Liveness::default() },
            hosts: hosts.collect(),
            links: Links::perfect(),
            images: BTreeMap::new(),
            pace: Pace::Even(Duration::from_millis(500)),
            trace: Trace::default(),
            watch: Watch::default(),
            planning: false,
            leaderless_since: None,
            thinks_at: None,
            rng,
            whispers: ChaCha12Rng::seed_from_u64(seed ^ 0x3417),
        };
        world.found(&ids, managers);
        world
    }

    fn found(&mut self, ids: &[NodeId], managers: usize) {
        let nodes: Vec<_> = ids.iter().enumerate().map(|(n, id)| node(id, n, n < managers)).collect();
        let mut nodes = nodes.into_iter();
        let Some(first) = nodes.next() else { return };
        let founding = Founding {
            cluster: ClusterId::from_random(self.rng.random()),
            spec: ClusterSpec::default(),
            default_addr_pool: Vec::new(),
            subnet_size: 0,
            data_path_port: 0,
            root_ca: String::new(),
            root_ca_key: String::new(),
            join_tokens: JoinTokens::default(),
            node: first,
        };
        let mut changes = bootstrap(founding, self.now, &mut self.rng);
        changes.extend(nodes.map(|node| Change::Create(Object::from(node))));
        let entry = Entry { batches: vec![Batch { now: self.now, changes }] };
        self.managers.commit(self.brain.as_ref(), Source::User, entry);
        for id in ids {
            self.later(Duration::ZERO, Event::Heartbeat(id.clone()));
            self.later(Duration::ZERO, Event::HostStep(id.clone()));
        }
        self.later(Duration::ZERO, Event::Think);
        self.later(PULSE, Event::Pulse);
        self.later(LISTEN, Event::Listen);
    }

    /// The state as the leader knows it, or the first manager while there is none.
    pub fn state(&self) -> &State {
        &self.managers.leader().unwrap_or(&self.managers.all[0]).state
    }

    /// The id of the node with this name.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.hosts.values().find(|host| host.name == name).map(|host| host.id.clone())
    }

    pub(crate) fn name_of(&self, node: &NodeId) -> &str {
        self.hosts.get(node).map_or("?", |host| host.name.as_str())
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now.plus(after), self.sequence), event);
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) -> Result<(), Broken> {
        let until = self.now.plus(by);
        while let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= until) {
            let ((at, _), event) = first.remove_entry();
            self.now = at;
            self.happen(event)?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::HostStep(node) => self.host_step(&node)?,
            Event::Heartbeat(node) => self.heartbeat(&node),
            Event::HeartbeatArrives { node, held, term } => {
                if term == self.managers.term && self.leading() {
                    self.liveness.heard(&node, self.now);
                    let known = self.state().nodes().get(&node);
                    if known.is_some_and(|node| node.status.state != NodeState::Ready) {
                        self.later(Duration::ZERO, Event::Think);
                    }
                    if held != self.state().index() {
                        self.dispatch_to(&node)?;
                    }
                }
            }
            Event::WordArrives { node, held, term } => {
                if term == self.managers.term && self.leading() {
                    self.hear(&node, held)?;
                }
            }
            Event::ReportsArrive { reports, term } => {
                if term == self.managers.term && self.leading() {
                    let report = Change::ReportTasks { owner: shoal_model::task::Owner::Agent, reports };
                    self.propose(Source::Node, vec![report]);
                }
            }
            Event::AssignmentArrives { node, assignment } => {
                if let Some(host) = self.hosts.get_mut(&node).filter(|host| host.up) {
                    host.take(*assignment);
                }
            }
            Event::Commit { source, entry, term } => self.commit(source, entry, term)?,
            Event::Follow(nth) => self.follow(nth),
            Event::Pulse => self.pulse(),
            Event::Listen => self.listen()?,
            Event::Think => self.think()?,
        }
        Ok(())
    }

    fn is_up(&self, node: &NodeId) -> bool {
        self.hosts.get(node).is_some_and(|host| host.up)
    }

    /// Whether there is a leader that is up.
    pub(crate) fn leading(&self) -> bool {
        self.managers.leader().is_some_and(|leader| self.is_up(&leader.id))
    }

    fn host_step(&mut self, node: &NodeId) -> Result<(), Broken> {
        self.later(HOST_STEP, Event::HostStep(node.clone()));
        let around = Surroundings { now: self.now, images: &self.images, pace: self.pace };
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.up) else { return Ok(()) };
        let released = host.step(&around, &mut self.rng);
        let (reports, held, term) = (host.reports(), host.version(), self.managers.term);
        if !reports.is_empty() {
            self.send_to_leader(node, Event::ReportsArrive { reports, term });
        }
        if let Some(leader) = self.managers.leader()
            && let Some(delay) = self.links.carry(node, &leader.id, &mut self.whispers)
        {
            self.later(delay, Event::WordArrives { node: node.clone(), held, term });
        }
        self.watch.released(&released, &self.hosts)
    }

    /// A node says that it is alive and what it holds.
    fn hear(&mut self, node: &NodeId, held: u64) -> Result<(), Broken> {
        let suspected = self.liveness.suspected.contains(node);
        self.liveness.heard(node, self.now);
        self.liveness.settled(node, held);
        self.look_at_liveness(suspected)
    }

    /// Looks for silent nodes.
    fn listen(&mut self) -> Result<(), Broken> {
        self.later(LISTEN, Event::Listen);
        if !self.leads_a_majority() {
            return Ok(());
        }
        let state = self.state().clone();
        let suspicion = self.liveness.suspect_silent(&state, self.now);
        self.look_at_liveness(suspicion.news)
    }

    /// Tells the nodes, if it is news to them.
    fn look_at_liveness(&mut self, news: bool) -> Result<(), Broken> {
        let state = self.state().clone();
        let withdrawn = self.brain.withdraw(&mut self.liveness, &state, self.now);
        if withdrawn {
            self.watch.withdrawn(self.now, &state, &self.liveness);
        }
        if news || withdrawn { self.dispatch() } else { Ok(()) }
    }

    fn heartbeat(&mut self, node: &NodeId) {
        self.later(HEARTBEAT, Event::Heartbeat(node.clone()));
        let Some(host) = self.hosts.get(node).filter(|host| host.up) else { return };
        let (held, term) = (host.version(), self.managers.term);
        self.send_to_leader(node, Event::HeartbeatArrives { node: node.clone(), held, term });
    }

    fn send_to_leader(&mut self, from: &NodeId, event: Event) {
        let Some(leader) = self.managers.leader().map(|leader| leader.id.clone()) else { return };
        if let Some(delay) = self.links.carry(from, &leader, &mut self.rng) {
            self.later(delay, event);
        }
    }

    /// Proposes changes through the leader; what becomes of them shows in the state.
    pub(crate) fn propose(&mut self, source: Source, changes: Vec<Change>) {
        let entry = Entry { batches: vec![Batch { now: self.now, changes }] };
        let term = self.managers.term;
        self.later(COMMIT, Event::Commit { source, entry, term });
    }

    /// A user's request: waits until it is committed and answers with the outcome, or with `None` when nobody can tell.
    pub(crate) fn request(&mut self, changes: Vec<Change>) -> Option<Result<(), Rejected>> {
        if !self.leads_a_majority() {
            return None;
        }
        let batch = Batch { now: self.now, changes };
        let entry = Entry { batches: vec![batch.clone()] };
        let (index, mut outcomes) = self.managers.commit(self.brain.as_ref(), Source::User, entry);
        let outcome = outcomes.pop()?;
        if outcome.is_ok() {
            self.watch.acknowledged(index, batch);
        }
        self.after_commit();
        Some(outcome)
    }

    fn leads_a_majority(&self) -> bool {
        let up = |node: &NodeId| self.is_up(node);
        self.managers.leader.is_some_and(|nth| self.managers.has_majority(nth, &self.links, &up))
    }

    fn commit(&mut self, source: Source, entry: Entry, term: u64) -> Result<(), Broken> {
        if term != self.managers.term {
            // Its leader is gone. It may have reached a majority before, or not.
            if self.rng.random() || !self.leads_a_majority() {
                return Ok(());
            }
        } else if !self.leads_a_majority() {
            if self.leading() {
                self.later(PULSE, Event::Commit { source, entry, term });
            } else if source == Source::Loop {
                self.planning = false;
            }
            return Ok(());
        }
        let (_, outcomes) = self.managers.commit(self.brain.as_ref(), source, entry);
        if source == Source::Loop && term == self.managers.term {
            self.planning = false;
        }
        for outcome in outcomes {
            if let Err(rejected) = outcome {
                self.trace.note(self.now, || format!("refused {source:?}: {rejected}"));
            }
        }
        self.after_commit();
        self.check_committed()?;
        self.dispatch()
    }

    fn after_commit(&mut self) {
        self.later(Duration::ZERO, Event::Think);
        let (Some(leading), Some(leader)) = (self.managers.leader, self.managers.leader()) else { return };
        let leader = leader.id.clone();
        let others: Vec<_> = self.managers.all.iter().map(|m| m.id.clone()).enumerate().collect();
        for (nth, id) in others.into_iter().filter(|(nth, _)| *nth != leading) {
            if let Some(delay) = self.links.carry(&leader, &id, &mut self.rng) {
                self.later(delay, Event::Follow(nth));
            }
        }
    }

    fn follow(&mut self, nth: usize) {
        if self.managers.all.get(nth).is_some_and(|manager| self.is_up(&manager.id)) {
            self.managers.catch_up(self.brain.as_ref(), nth);
        }
    }

    fn pulse(&mut self) {
        self.later(PULSE, Event::Pulse);
        if self.leads_a_majority() {
            self.leaderless_since = None;
            self.after_commit();
            return;
        }
        let since = *self.leaderless_since.get_or_insert(self.now);
        if self.now.since(since) >= ELECTION {
            let up = |node: &NodeId| self.is_up(node);
            let able = |nth: &usize| self.managers.has_majority(*nth, &self.links, &up);
            let able: Vec<_> = (0..self.managers.all.len()).filter(able).collect();
            if !able.is_empty() {
                let chosen = able[self.rng.random_range(0..able.len())];
                self.lead(chosen);
            }
        }
    }

    /// Makes manager `nth` the leader.
    pub(crate) fn lead(&mut self, nth: usize) {
        self.managers.elect(self.brain.as_ref(), nth);
        self.liveness = Liveness { leader_since: self.now, ..Liveness::default() };
        self.planning = false;
        self.leaderless_since = None;
        let name = self.managers.leader().map(|leader| self.name_of(&leader.id).to_owned());
        self.trace.note(self.now, || format!("{} leads", name.unwrap_or_default()));
        self.later(Duration::ZERO, Event::Think);
    }

    /// Makes manager `nth` the leader if a majority follows it.
    pub(crate) fn take_over(&mut self, nth: usize) {
        let up = |node: &NodeId| self.is_up(node);
        if self.managers.has_majority(nth, &self.links, &up) {
            self.lead(nth);
        }
    }

    fn think(&mut self) -> Result<(), Broken> {
        if self.planning || !self.leads_a_majority() {
            return Ok(());
        }
        let state = self.state().clone();
        let plan = self.brain.tick(&state, &self.liveness, self.now, &mut self.rng);
        for report in &plan.report {
            self.trace.note(self.now, || format!("plan: {report}"));
        }
        self.watch.planned(self.now, &state, &plan)?;
        if let Some(next) = plan.next {
            self.think_at(next.max(self.now.plus(Duration::from_millis(1))));
        }
        if !plan.changes.is_empty() {
            self.trace.note(self.now, || summary(&plan));
            self.planning = true;
            self.propose(Source::Loop, plan.changes);
        }
        Ok(())
    }

    /// One look ahead is enough: whoever looks then, looks ahead again.
    fn think_at(&mut self, at: Timestamp) {
        if self.thinks_at.is_none_or(|earlier| earlier <= self.now || at < earlier) {
            self.thinks_at = Some(at);
            self.later(at.since(self.now), Event::Think);
        }
    }

    /// What the control loop would do now.
    pub fn plan(&mut self) -> Plan {
        let state = self.state().clone();
        self.brain.tick(&state, &self.liveness, self.now, &mut self.rng)
    }

    fn dispatch(&mut self) -> Result<(), Broken> {
        let nodes: Vec<_> = self.state().nodes().keys().cloned().collect();
        nodes.iter().try_for_each(|node| self.dispatch_to(node))
    }

    fn dispatch_to(&mut self, node: &NodeId) -> Result<(), Broken> {
        let Some(leader) = self.managers.leader() else { return Ok(()) };
        let (leader, state) = (leader.id.clone(), leader.state.clone());
        let assignment = self.brain.assign(&state, &self.liveness, node);
        self.watch.assigned(&state, &self.liveness, node, &assignment)?;
        if let Some(delay) = self.links.carry(&leader, node, &mut self.rng) {
            let event = Event::AssignmentArrives { node: node.clone(), assignment: Box::new(assignment) };
            self.later(delay, event);
        }
        Ok(())
    }

    fn check_committed(&mut self) -> Result<(), Broken> {
        self.watch.committed(&self.managers)
    }
}

/// The first of a plan's changes, and how many there are.
fn summary(plan: &Plan) -> String {
    let first = plan.changes.first().map(|change| format!("{change:?}")).unwrap_or_default();
    let first: String = first.chars().take(200).collect();
    format!("plan: {} changes, the first is {first}", plan.changes.len())
}

fn node(id: &NodeId, nth: usize, manages: bool) -> Node {
    let name = format!("n{}", nth + 1);
    let role = if manages { NodeRole::Manager } else { NodeRole::Worker };
    Node {
        id: id.clone(),
        meta: Meta::default(),
        spec: NodeSpec { role, ..NodeSpec::default() },
        description: NodeDescription {
            hostname: name,
            platform: Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() },
            resources: NodeResources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30 },
            ..NodeDescription::default()
        },
        status: NodeStatus {
            state: NodeState::Ready,
            addr: format!("192.168.50.{}", nth + 11),
            since: START,
            ..NodeStatus::default()
        },
        manager_addr: manages.then(|| format!("192.168.50.{}:2377", nth + 11)),
        raft_id: manages.then(|| u64::try_from(nth).unwrap_or(0) + 1),
        attachments: BTreeMap::new(),
        certificate_digest: String::new(),
    }
}
