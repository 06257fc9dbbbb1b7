//! Groups writes that come at the same time into one entry, since every entry costs a flush of the disk on every
//! manager.

use crate::ProposeError;
use crate::types::{Bound, Metrics, Outcome, Place, Raft};
use openraft::error::{ClientWriteError, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use shoal_store::{Batch, Entry};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

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

/// Groups and writes until the queue is closed. Nobody waits for a write longer than `deadline`.
pub(crate) async fn run(raft: Raft, mut queue: mpsc::Receiver<Proposal>, deadline: Duration) {
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
        let metrics = raft.metrics();
        let term = metrics.borrow().current_term;
        match raft.client_write_ff(Entry { batches }).await {
            Ok(written) => {
                tokio::spawn(finish(written, deposed(metrics, term), answers, deadline, permit));
            }
            Err(fatal) => tell_all(answers, &stopped(&fatal)),
        }
    }
}

/// Waits for an entry. It may take as long as it likes to be decided; but once this manager does not lead any more, the
/// next entries do not wait for it, because the library forgets to answer when a snapshot overtakes the entry.
async fn finish(
    written: impl Future<Output = Written>,
    deposed: impl Future<Output = ()>,
    answers: Answers,
    deadline: Duration,
    permit: OwnedSemaphorePermit,
) {
    let mut written = pin!(written);
    let decided = tokio::select! {
        decided = &mut written => Some(decided),
        () = deposed => None,
    };
    drop(permit);
    let decided = match decided {
        Some(decided) => decided,
        None => match tokio::time::timeout(deadline, written).await {
            Ok(decided) => decided,
            Err(_) => return tell_all(answers, &ProposeError::NoQuorum),
        },
    };
    match decided {
        Ok(Ok(response)) => tell_each(answers, response.log_id.index, response.data),
        Ok(Err(error)) => tell_all(answers, &refused(error)),
        Err(_) => tell_all(answers, &ProposeError::ShuttingDown),
    }
}

/// Returns when the term is over.
async fn deposed(mut metrics: watch::Receiver<Metrics>, term: u64) {
    // It only fails when the library stops, which ends the term as well.
    let _ = metrics.wait_for(|now| now.current_term != term).await;
}

type Written = Result<ClientWriteResult<Bound>, oneshot::error::RecvError>;
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
