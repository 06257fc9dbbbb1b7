//! Groups writes that come at the same time into one entry, since every entry costs a flush of the disk on every
//! manager.

use crate::ProposeError;
use crate::types::{Outcome, Place, Raft};
use openraft::error::{ClientWriteError, ForwardToLeader};
use shoal_store::{Batch, Entry};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Batches in an entry.
const GROUP: usize = 256;
/// Entries on their way at a time; meanwhile the next one fills.
const IN_FLIGHT: usize = 2;
/// Batches that wait; more of them wait outside.
const QUEUE: usize = 1024;

/// A write and who waits for it.
pub(crate) struct Proposal {
    pub(crate) batch: Batch,
    pub(crate) answer: oneshot::Sender<Result<u64, ProposeError>>,
}

/// Where writes go.
pub(crate) fn queue() -> (mpsc::Sender<Proposal>, mpsc::Receiver<Proposal>) {
    mpsc::channel(QUEUE)
}

/// Groups and writes until the queue is closed.
pub(crate) async fn run(raft: Raft, mut queue: mpsc::Receiver<Proposal>) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut group = Vec::with_capacity(GROUP);
    loop {
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        if queue.recv_many(&mut group, GROUP).await == 0 {
            return;
        }
        // Whoever has given up must not be surprised by a write that was never begun.
        group.retain(|proposal: &Proposal| !proposal.answer.is_closed());
        if group.is_empty() {
            continue;
        }
        let (batches, answers): (Vec<Batch>, Vec<_>) = group.drain(..).map(|p| (p.batch, p.answer)).unzip();
        let begun = raft.client_write_ff(Entry { batches }).await;
        tokio::spawn(async move {
            let written = match begun {
                Ok(written) => written.await,
                Err(fatal) => return tell_all(answers, &stopped(&fatal)),
            };
            match written {
                Ok(Ok(response)) => tell_each(answers, response.log_id.index, response.data),
                Ok(Err(error)) => tell_all(answers, &refused(error)),
                Err(_) => tell_all(answers, &ProposeError::ShuttingDown),
            }
            drop(permit);
        });
    }
}

type Answers = Vec<oneshot::Sender<Result<u64, ProposeError>>>;

fn tell_each(answers: Answers, index: u64, outcome: Outcome) {
    for (answer, outcome) in answers.into_iter().zip(outcome) {
        // Whoever does not wait any more does not want to know.
        let _ = answer.send(outcome.map(|()| index).map_err(ProposeError::Rejected));
    }
}

fn tell_all(answers: Answers, error: &ProposeError) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}

/// What an error of the library means to a caller.
pub(crate) fn refused(error: ClientWriteError<u64, Place>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(to) => not_leader(&to),
        ClientWriteError::ChangeMembershipError(error) => ProposeError::Membership(error.to_string()),
    }
}

pub(crate) fn not_leader(to: &ForwardToLeader<u64, Place>) -> ProposeError {
    ProposeError::NotLeader { leader: to.leader_node.as_ref().and_then(Place::hint) }
}

pub(crate) fn stopped(fatal: &openraft::error::Fatal<u64>) -> ProposeError {
    match fatal {
        openraft::error::Fatal::Stopped => ProposeError::ShuttingDown,
        other => ProposeError::Storage(other.to_string()),
    }
}
