//! Groups writes that come at the same time into one entry, since every entry costs a flush of the disk on every
//! manager.

use crate::ProposeError;
use crate::types::{Bound, Metrics, Outcome, Place, Raft};
use openraft::error::{ClientWriteError, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use shoal_store::{Batch, Entry};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
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

/// What the batches of an entry add up to at most, unless a single one is larger.
const GROUP_BYTES: usize = 2 * 1024 * 1024;
/// The largest batch. An entry must fit into a message between managers, whatever the transport's limit.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Between the library's end and its word on why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A write and who waits for it.
pub(crate) struct Proposal {
    batch: Batch,
    size_bytes: usize,
    answer: oneshot::Sender<Result<u64, ProposeError>>,
}

impl Proposal {
    /// The write, and what to wait on.
    pub(crate) fn new(
        batch: Batch,
    ) -> Result<(Self, oneshot::Receiver<Result<u64, ProposeError>>), ProposeError> {
        let mut counter = Counter(0);
        serde_json::to_writer(&mut counter, &batch).map_err(|e| ProposeError::Storage(e.to_string()))?;
        let Counter(size_bytes) = counter;
        if size_bytes > BATCH_BYTES {
            return Err(ProposeError::TooLarge { bytes: size_bytes, limit: BATCH_BYTES });
        }
        let (answer, answered) = oneshot::channel();
        Ok((Self { batch, size_bytes, answer }, answered))
    }
}

/// Counts what is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where writes go.
pub(crate) fn queue() -> (mpsc::Sender<Proposal>, mpsc::Receiver<Proposal>) {
    mpsc::channel(QUEUE)
}

/// Groups and writes until the queue is closed. Nobody waits for a write longer than `deadline`.
pub(crate) async fn run(raft: Raft, mut queue: mpsc::Receiver<Proposal>, deadline: Duration) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut waiting = VecDeque::new();
    loop {
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        if waiting.is_empty() {
            match queue.recv().await {
                Some(first) => waiting.push_back(first),
                None => return,
            }
        }
        while waiting.len() < GROUP
            && let Ok(more) = queue.try_recv()
        {
            waiting.push_back(more);
        }
        let (batches, answers) = take_group(&mut waiting);
        if batches.is_empty() {
            continue;
        }
        let metrics = raft.metrics();
        let term = metrics.borrow().current_term;
        match raft.client_write_ff(Entry { batches }).await {
            Ok(written) => {
                let decided = decide(written, deposed(metrics.clone(), term), metrics, deadline, permit);
                tokio::spawn(async move { tell(answers, decided.await) });
            }
            Err(fatal) => tell(answers, Err(stopped(&fatal))),
        }
    }
}

/// Takes as many as an entry should hold, and drops those whose proposer has given up: nobody must be surprised by a
/// write that was never begun.
fn take_group(waiting: &mut VecDeque<Proposal>) -> (Vec<Batch>, Answers) {
    let (mut batches, mut answers, mut size_bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(next) = waiting.front() {
        if !batches.is_empty() && size_bytes + next.size_bytes > GROUP_BYTES {
            break;
        }
        let Some(next) = waiting.pop_front() else { break };
        if !next.answer.is_closed() {
            size_bytes += next.size_bytes;
            batches.push(next.batch);
            answers.push(next.answer);
        }
    }
    (batches, answers)
}

/// Waits for an entry. It may take as long as it likes to be decided; but once this manager does not lead any more, the
/// next entries do not wait for it, because the library forgets to answer when a snapshot overtakes the entry.
async fn decide(
    written: impl Future<Output = Written>,
    deposed: impl Future<Output = ()>,
    metrics: watch::Receiver<Metrics>,
    deadline: Duration,
    permit: OwnedSemaphorePermit,
) -> Result<(u64, Outcome), ProposeError> {
    let mut written = pin!(written);
    let decided = tokio::select! {
        decided = &mut written => Some(decided),
        () = deposed => None,
    };
    drop(permit);
    let decided = match decided {
        Some(decided) => decided,
        None => tokio::time::timeout(deadline, written).await.map_err(|_| ProposeError::NoQuorum)?,
    };
    match decided {
        Ok(Ok(response)) => Ok((response.log_id.index, response.data)),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(why_stopped(metrics).await),
    }
}

/// Why the library has dropped a call: it says so a moment later.
pub(crate) async fn why_stopped(mut metrics: watch::Receiver<Metrics>) -> ProposeError {
    let says = metrics.wait_for(|now| now.running_state.is_err());
    match tokio::time::timeout(LAST_WORDS, says).await {
        Ok(Ok(now)) => match &now.running_state {
            Err(fatal) => stopped(fatal),
            Ok(()) => ProposeError::ShuttingDown,
        },
        Ok(Err(_)) | Err(_) => ProposeError::ShuttingDown,
    }
}

/// Returns when the term is over.
async fn deposed(mut metrics: watch::Receiver<Metrics>, term: u64) {
    // It only fails when the library stops, which ends the term as well.
    let _ = metrics.wait_for(|now| now.current_term != term).await;
}

type Written = Result<ClientWriteResult<Bound>, oneshot::error::RecvError>;
type Answers = Vec<oneshot::Sender<Result<u64, ProposeError>>>;

/// Whoever does not wait any more does not want to know.
fn tell(answers: Answers, decided: Result<(u64, Outcome), ProposeError>) {
    match decided {
        Ok((index, outcome)) => {
            for (answer, outcome) in answers.into_iter().zip(outcome) {
                let _ = answer.send(outcome.map(|()| index).map_err(ProposeError::Rejected));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
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
