//! A manager's side of a node's session, as far as it is the same whatever the manager thinks: assignments out as they
//! change, heartbeats watched, everything else handed on.

use crate::{AssignmentFeed, Inbound, ManagerMessage, NodeMessage, Outbound};
use futures::stream::{self, StreamExt};
use shoal_model::Assignment;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// Heartbeats that may be missed (swarmkit `dispatcher.go`: `defaultGracePeriodMultiplier`).
const GRACE: u32 = 3;
/// Assignments that follow each other faster than this are sent as one.
const SPACING: Duration = Duration::from_millis(50);

/// What a manager brings to a session. The session ends when one of the senders is dropped.
pub struct SessionInputs {
    /// What the node should hold.
    pub assignments: watch::Receiver<Arc<Assignment>>,
    /// Addresses of all managers, the leader's first.
    pub managers: watch::Receiver<Vec<String>>,
    /// Time between heartbeats.
    pub heartbeat_period: watch::Receiver<Duration>,
    /// Anything else to say: requests for streams, for a renewal.
    pub further: mpsc::Receiver<ManagerMessage>,
    /// Called whenever the node says anything. It must not wait: silence is measured by it.
    pub heard: Box<dyn Fn() + Send>,
    /// Where everything goes that the node says, heartbeats too; not that it is alive. Closed when the session is over.
    pub events: mpsc::Sender<NodeMessage>,
}

/// Carries a session until the node is gone: its connection broke, or three heartbeats are missing.
pub fn drive_session(inputs: SessionInputs, inbound: Inbound<NodeMessage>) -> Outbound<ManagerMessage> {
    let period = *inputs.heartbeat_period.borrow();
    let now = Instant::now();
    let mut driver = Driver {
        inbound,
        feed: AssignmentFeed::default(),
        queue: VecDeque::from([ManagerMessage::HeartbeatPeriod(nanos(period))]),
        wanted: true,
        send_after: now,
        missing_at: now + period * GRACE,
        inputs,
    };
    driver.queue.push_back(ManagerMessage::Managers(driver.inputs.managers.borrow_and_update().clone()));
    stream::unfold(Some(driver), |driver| async {
        let mut driver = driver?;
        match driver.next().await {
            Next::Say(message) => Some((Ok(message), Some(driver))),
            Next::Fail(status) => Some((Err(status), None)),
            Next::Over => None,
        }
    })
    .boxed()
}

struct Driver {
    inputs: SessionInputs,
    inbound: Inbound<NodeMessage>,
    feed: AssignmentFeed,
    queue: VecDeque<ManagerMessage>,
    /// Whether the assignment may differ from what was sent.
    wanted: bool,
    send_after: Instant,
    missing_at: Instant,
}

enum Next {
    Say(ManagerMessage),
    Fail(Status),
    Over,
}

impl Driver {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Next::Say(message);
            }
            tokio::select! {
                message = self.inbound.next() => match message {
                    Some(Ok(message)) => if let Some(end) = self.heard(message).await { return end },
                    Some(Err(_)) | None => return Next::Over,
                },
                changed = self.inputs.assignments.changed() => match changed {
                    Ok(()) => self.wanted = true,
                    Err(_) => return Next::Over,
                },
                () = sleep_until(self.send_after), if self.wanted => self.feed_node(),
                changed = self.inputs.managers.changed() => match changed {
                    Ok(()) => {
                        let managers = self.inputs.managers.borrow_and_update().clone();
                        self.queue.push_back(ManagerMessage::Managers(managers));
                    }
                    Err(_) => return Next::Over,
                },
                changed = self.inputs.heartbeat_period.changed() => match changed {
                    Ok(()) => {
                        let period = *self.inputs.heartbeat_period.borrow_and_update();
                        self.missing_at = Instant::now() + period * GRACE;
                        self.queue.push_back(ManagerMessage::HeartbeatPeriod(nanos(period)));
                    }
                    Err(_) => return Next::Over,
                },
                message = self.inputs.further.recv() => match message {
                    Some(message) => self.queue.push_back(message),
                    None => return Next::Over,
                },
                () = sleep_until(self.missing_at) => {
                    return Next::Fail(Status::deadline_exceeded("the node's heartbeats stopped"));
                }
            }
        }
    }

    async fn heard(&mut self, message: NodeMessage) -> Option<Next> {
        self.missing_at = Instant::now() + *self.inputs.heartbeat_period.borrow() * GRACE;
        (self.inputs.heard)();
        match message {
            NodeMessage::Alive => None,
            NodeMessage::Hello(_) => {
                Some(Next::Fail(Status::invalid_argument("a session has one hello only")))
            }
            NodeMessage::NeedAssignment => {
                self.feed.forget();
                self.wanted = true;
                None
            }
            message => self.inputs.events.send(message).await.err().map(|_| Next::Over),
        }
    }

    fn feed_node(&mut self) {
        self.wanted = false;
        self.send_after = Instant::now() + SPACING;
        let wanted = Arc::clone(&self.inputs.assignments.borrow_and_update());
        self.queue.extend(self.feed.next(&wanted));
    }
}

fn nanos(period: Duration) -> i64 {
    i64::try_from(period.as_nanos()).unwrap_or(i64::MAX)
}
