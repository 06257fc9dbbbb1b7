//! A machine as the managers see it: it takes its assignment, moves its tasks through their states, and tells of it. Its
//! containers may crash, its images may be missing, and when its power is cut all of them are gone.

use rand::{Rng, RngCore};
use shoal_model::task::ContainerStatus;
use shoal_model::{
    Assignment, NetworkId, NodeId, TaskAssignment, TaskId, TaskReport, TaskState, TaskStatus, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a host waits for a task's withdrawal.
const WITHDRAWAL_MAX: Duration = Duration::from_secs(5);

/// How an image behaves, on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Image {
    /// Runs until it is stopped.
    #[default]
    Serves,
    /// Cannot be fetched.
    Missing,
    /// Ends by itself after a while, with this status.
    Exits {
        /// After how long.
        after: Duration,
        /// With which status.
        code: i32,
    },
}

/// How long the steps of a task take.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each step takes this long.
    Even(Duration),
    /// Each step takes up to this long.
    Random(Duration),
}

impl Pace {
    fn draw(self, rng: &mut dyn RngCore) -> Duration {
        match self {
            Self::Even(step) => step,
            Self::Random(most) => {
                let most = u64::try_from(most.as_millis()).unwrap_or(1).max(1);
                Duration::from_millis(rng.random_range(1..=most))
            }
        }
    }
}

/// A container of a task.
#[derive(Debug, Clone)]
pub struct Container {
    /// How far it got.
    pub status: TaskStatus,
    /// When its next step is done.
    step_at: Timestamp,
    stopping: bool,
    /// When the host heard that it is to stop.
    told_at: Option<Timestamp>,
    /// What the task's assignment said when it was last seen.
    task: TaskAssignment,
}

/// A machine.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its identity.
    pub id: NodeId,
    /// Its hostname.
    pub name: String,
    /// Whether it has power.
    pub up: bool,
    /// What it was told to hold.
    pub held: Option<Assignment>,
    /// What it holds.
    pub containers: BTreeMap<TaskId, Container>,
}

/// What a host's step needs to know of the world.
pub struct Surroundings<'a> {
    /// The time.
    pub now: Timestamp,
    /// How images behave; those that are not listed serve.
    pub images: &'a BTreeMap<String, Image>,
    /// How long steps take.
    pub pace: Pace,
}

impl Host {
    /// A machine with power and nothing on it.
    pub fn new(id: NodeId, name: String) -> Self {
        Self { id, name, up: true, held: None, containers: BTreeMap::new() }
    }

    /// Cuts the power.
    pub fn kill(&mut self) {
        self.up = false;
        self.held = None;
        self.containers.clear();
    }

    /// Gives the power back.
    pub fn start(&mut self) {
        self.up = true;
    }

    /// Takes an assignment, unless it holds a newer one.
    pub fn take(&mut self, assignment: Assignment) {
        if self.held.as_ref().is_none_or(|held| held.version <= assignment.version) {
            self.held = Some(assignment);
        }
    }

    /// The log index that its assignment was computed from.
    pub fn version(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.version)
    }

    /// Ends a container by force.
    pub fn crash(&mut self, task: &TaskId) -> bool {
        let running =
            self.containers.get_mut(task).filter(|container| container.status.state == TaskState::Running);
        running.is_some_and(|container| {
            container.end(TaskState::Failed, 137);
            true
        })
    }

    /// Moves every container as far as it gets by now; answers which of them stop because they are withdrawn.
    pub fn step(&mut self, around: &Surroundings<'_>, rng: &mut dyn RngCore) -> Vec<TaskId> {
        let mut released = Vec::new();
        let Some(held) = &self.held else { return released };
        // What the managers know to have ended is only remembered.
        for (id, task) in held.tasks.iter().filter(|(_, task)| !task.known.is_terminal()) {
            let container =
                self.containers.entry(id.clone()).or_insert_with(|| Container::new(task, around.now));
            container.task = task.clone();
        }
        for (id, container) in &mut self.containers {
            let told = held.tasks.get(id);
            let wanted = told.is_some_and(|task| task.desired <= TaskState::Running);
            if !wanted && !container.stopping && container.has_drained(told, around.now) {
                if told.is_some_and(|task| task.withdrawn) && !container.status.state.is_terminal() {
                    released.push(id.clone());
                }
                container.stop(around, rng);
            }
            container.advance(around, rng);
        }
        self.containers
            .retain(|id, container| held.tasks.contains_key(id) || !container.status.state.is_terminal());
        released
    }

    /// Whether a container on this network has not ended.
    pub fn is_on(&self, network: &NetworkId) -> bool {
        let live = self.containers.values().filter(|container| !container.status.state.is_terminal());
        live.flat_map(|container| &container.task.attachments)
            .any(|attachment| &attachment.network == network)
    }

    /// What the managers do not know yet.
    pub fn reports(&self) -> Vec<TaskReport> {
        let tasks = self.held.iter().flat_map(|held| &held.tasks);
        let news = tasks.filter_map(|(id, task)| {
            let container = self.containers.get(id)?;
            let status = container.status.clone();
            (status.state > task.known && !task.known.is_terminal())
                .then(|| TaskReport { id: id.clone(), status })
        });
        news.collect()
    }
}

impl Container {
    /// `<service>.<slot>`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.task.service_name, self.task.slot)
    }

    fn new(task: &TaskAssignment, now: Timestamp) -> Self {
        let mut container = Self {
            status: TaskStatus { state: TaskState::Accepted, ..TaskStatus::default() },
            step_at: now,
            stopping: false,
            told_at: None,
            task: task.clone(),
        };
        // Tasks are one-shot: one that had been started here before is not started again.
        if task.desired > TaskState::Running {
            container.end(TaskState::Shutdown, 0);
        } else if task.known >= TaskState::Starting {
            container.end(TaskState::Failed, 137);
        }
        container
    }

    fn end(&mut self, state: TaskState, code: i32) {
        self.status.state = state;
        "finished".clone_into(&mut self.status.message);
        if code != 0 {
            self.status.err = format!("task: non-zero exit ({code})");
        }
        self.status.container =
            Some(ContainerStatus { container_id: "0".repeat(64), pid: 0, exit_code: code });
    }

    /// Whether it may be stopped: nobody gives it new connections any more, or nobody ever did, or nobody says so for too
    /// long.
    fn has_drained(&mut self, told: Option<&TaskAssignment>, now: Timestamp) -> bool {
        let told_at = *self.told_at.get_or_insert(now);
        told.is_none_or(|task| {
            task.withdrawn
                || task.known != TaskState::Running
                || task.attachments.is_empty()
                || now.since(told_at) >= WITHDRAWAL_MAX
        })
    }

    fn stop(&mut self, around: &Surroundings<'_>, rng: &mut dyn RngCore) {
        if self.status.state.is_terminal() {
            return;
        }
        self.stopping = true;
        self.step_at = around.now.plus(around.pace.draw(rng));
    }

    fn image(&self, around: &Surroundings<'_>) -> Image {
        around.images.get(&self.task.spec.container().image).copied().unwrap_or_default()
    }

    fn advance(&mut self, around: &Surroundings<'_>, rng: &mut dyn RngCore) {
        while !self.status.state.is_terminal() && self.step_at <= around.now {
            if self.stopping {
                self.status.state = TaskState::Shutdown;
                "shutdown".clone_into(&mut self.status.message);
                return;
            }
            let next = match self.status.state {
                TaskState::Accepted => TaskState::Preparing,
                TaskState::Preparing if self.image(around) == Image::Missing => {
                    let image = &self.task.spec.container().image;
                    self.status.err = format!("No such image: {image}");
                    TaskState::Rejected
                }
                TaskState::Preparing => TaskState::Ready,
                TaskState::Ready if self.may_start(around.now) => TaskState::Starting,
                TaskState::Starting => TaskState::Running,
                TaskState::Running => match self.image(around) {
                    Image::Exits { code, .. } => {
                        let end = if code == 0 { TaskState::Complete } else { TaskState::Failed };
                        self.end(end, code);
                        return;
                    }
                    _ => return,
                },
                _ => return,
            };
            self.status.state = next;
            next.as_str().clone_into(&mut self.status.message);
            let step = match (next, self.image(around)) {
                (TaskState::Running, Image::Exits { after, .. }) => after,
                _ => around.pace.draw(rng),
            };
            self.step_at = around.now.plus(step);
        }
    }

    fn may_start(&self, now: Timestamp) -> bool {
        self.task.desired == TaskState::Running && now >= self.task.start_after
    }
}
