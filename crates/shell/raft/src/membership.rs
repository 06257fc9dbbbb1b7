//! Who takes part: letting managers in and taking them out.

use crate::batcher::{refused, stopped};
use crate::types::{Metrics, Place};
use crate::{Member, ProposeError, RaftLog};
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Only one change is made at a time; another one waits this long before it tries again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

impl RaftLog {
    /// First without a vote, so that the group does not wait for a manager that has nothing yet.
    pub(crate) async fn let_in(&self, member: Member) -> Result<(), ProposeError> {
        let (id, place) = (member.raft_id, Place::of(&member));
        let before = self.place_of(id);
        let outcome = self.in_time(self.let_in_step_by_step(id, place)).await;
        if outcome.is_err() && before.is_none() && !self.has_vote(id) {
            // Whoever did not catch up in time must not stay half inside. If this fails too, the next attempt goes on
            // from there.
            let _ = self.in_time(self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false)).await;
        }
        outcome
    }

    async fn let_in_step_by_step(&self, id: u64, place: Place) -> Result<(), ProposeError> {
        let known = self.place_of(id);
        if known.as_ref().is_some_and(|known| *known != place) {
            self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, place.clone())])), true).await?;
        }
        if self.has_vote(id) {
            return Ok(());
        }
        if known.is_none() {
            self.change(ChangeMembers::AddNodes(BTreeMap::from([(id, place)])), true).await?;
        }
        self.until_caught_up(id).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
    }

    /// Waits until a member holds everything that is there now. (The library's own way to wait is content with one that
    /// never answered, as long as the log is short. With a vote, such a member would stop a group of one for good.)
    async fn until_caught_up(&self, id: u64) -> Result<(), ProposeError> {
        let mut metrics = self.raft.metrics();
        let goal = metrics.borrow().last_log_index;
        let there = |now: &Metrics| {
            let reached = now.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
            now.current_leader != Some(now.id) || reached.map(|at| at.index) >= goal
        };
        let now = metrics.wait_for(there).await.map_err(|_| ProposeError::ShuttingDown)?;
        if now.current_leader == Some(now.id) {
            Ok(())
        } else {
            Err(ProposeError::NotLeader { leader: None })
        }
    }

    pub(crate) async fn take_out(&self, raft_id: u64) -> Result<(), ProposeError> {
        let id = BTreeSet::from([raft_id]);
        self.in_time(async {
            if self.has_vote(raft_id) {
                return self.change(ChangeMembers::RemoveVoters(id), false).await;
            }
            match self.place_of(raft_id) {
                Some(_) => self.change(ChangeMembers::RemoveNodes(id), false).await,
                None => Ok(()),
            }
        })
        .await
    }

    async fn change(&self, change: ChangeMembers<u64, Place>, retain: bool) -> Result<(), ProposeError> {
        loop {
            match self.raft.change_membership(change.clone(), retain).await {
                Ok(_) => return Ok(()),
                Err(error) if is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn place_of(&self, id: u64) -> Option<Place> {
        self.raft.metrics().borrow().membership_config.membership().get_node(&id).cloned()
    }

    fn has_vote(&self, id: u64) -> bool {
        self.raft.metrics().borrow().membership_config.voter_ids().any(|voter| voter == id)
    }
}

type Failed = RaftError<u64, ClientWriteError<u64, Place>>;

fn is_busy(error: &Failed) -> bool {
    let RaftError::APIError(ClientWriteError::ChangeMembershipError(why)) = error else { return false };
    matches!(why, ChangeMembershipError::InProgress(_))
}

fn failed(error: Failed) -> ProposeError {
    match error {
        RaftError::APIError(error) => refused(error),
        RaftError::Fatal(fatal) => stopped(&fatal),
    }
}
