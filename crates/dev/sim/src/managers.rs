//! The replicated log, simply: entries are committed one after another by a leader who reaches a majority, every manager
//! applies what is committed in its own time, and a new leader has all of it. What was on its way when a leader is lost
//! may or may not have been committed, and nobody is told.

use crate::brain::Brain;
use crate::links::Links;
use shoal_model::NodeId;
use shoal_store::{Entry, Rejected, State};

/// Who proposed an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A user's request.
    User,
    /// The control loop.
    Loop,
    /// A node's report.
    Node,
}

/// An entry that is committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Who proposed it.
    pub source: Source,
    /// What it holds.
    pub entry: Entry,
}

/// One manager.
pub struct Manager {
    /// The node that it runs on.
    pub id: NodeId,
    /// The state as far as it has applied the log.
    pub state: State,
}

/// All managers and their log.
pub struct Managers {
    /// The managers.
    pub all: Vec<Manager>,
    /// The log; the first entry has index 1.
    pub log: Vec<Committed>,
    /// Which manager leads.
    pub leader: Option<usize>,
    /// Counts the leaders.
    pub term: u64,
}

impl Managers {
    /// Managers on these nodes; the first leads.
    pub fn new(nodes: &[NodeId]) -> Self {
        let all = nodes.iter().map(|id| Manager { id: id.clone(), state: State::default() }).collect();
        Self { all, log: Vec::new(), leader: Some(0), term: 1 }
    }

    /// The leading manager.
    pub fn leader(&self) -> Option<&Manager> {
        self.all.get(self.leader?)
    }

    /// Whether manager `nth` is up and reaches a majority that is up.
    pub fn has_majority(&self, nth: usize, links: &Links, up: &dyn Fn(&NodeId) -> bool) -> bool {
        let Some(own) = self.all.get(nth).filter(|m| up(&m.id)) else { return false };
        let reached = self.all.iter().filter(|m| up(&m.id) && links.joined(&own.id, &m.id)).count();
        reached * 2 > self.all.len()
    }

    /// Commits an entry and applies it on the leader; the answers are those of its batches.
    pub fn commit(
        &mut self,
        brain: &dyn Brain,
        source: Source,
        entry: Entry,
    ) -> (u64, Vec<Result<(), Rejected>>) {
        self.log.push(Committed { source, entry });
        let index = self.index();
        let outcome = match self.leader {
            Some(leader) => self.catch_up(brain, leader),
            None => Vec::new(),
        };
        (index, outcome)
    }

    /// The index of the last committed entry.
    pub fn index(&self) -> u64 {
        u64::try_from(self.log.len()).unwrap_or(u64::MAX)
    }

    /// Lets a manager apply all that is committed; the answers are those of the last entry.
    pub fn catch_up(&mut self, brain: &dyn Brain, nth: usize) -> Vec<Result<(), Rejected>> {
        let Some(manager) = self.all.get_mut(nth) else { return Vec::new() };
        let mut last = Vec::new();
        let applied = usize::try_from(manager.state.index()).unwrap_or(usize::MAX);
        for (entry, index) in self.log.iter().zip(1_u64..).skip(applied) {
            last = brain.apply(nth, &mut manager.state, index, &entry.entry);
        }
        last
    }

    /// Makes a manager the leader, which first applies all that it knows to be committed.
    pub fn elect(&mut self, brain: &dyn Brain, nth: usize) {
        let known = brain.recover(self.log.len());
        self.log.truncate(known);
        self.leader = Some(nth);
        self.term += 1;
        self.catch_up(brain, nth);
    }
}
