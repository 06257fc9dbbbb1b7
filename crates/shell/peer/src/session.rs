//! A node's side of its session with the managers: one connection at a time, to the leader, made again whenever it
//! breaks. What the node should hold stays as it was while there is none.

use crate::client::error_of;
use crate::protocol::{ALIVE_PERIOD, nanos_to_duration};
use crate::retry::Backoff;
use crate::{
    Connector, Frame, Hello, Inbound, ManagerMessage, NodeMessage, PROTOCOL, PeerClient, PeerError, Progress,
    StreamKind, StreamRequest, leader_of,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{Either, select};
use rand::seq::IndexedRandom;
use shoal_model::assignment::Connections;
use shoal_model::node::NodeDescription;
use shoal_model::{Assignment, TaskId, TaskReport, TaskStatus};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, info, warn};

/// Between attempts: from this …
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// … up to this (swarmkit `agent/session.go` goes up to 8 s).
const SLOWEST_RETRY: Duration = Duration::from_secs(8);
/// Until a manager says otherwise (swarmkit: `DefaultHeartBeatPeriod`).
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);
/// Progress and statuses are told at once, but not more often than this.
const SPACING: Duration = Duration::from_millis(50);
/// Connections that have moved are told at once, but not more often than this: every word may change rings everywhere.
const CONNECTIONS_SPACING: Duration = Duration::from_millis(500);
/// A manager that does not take a message for this long is gone.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Messages on their way.
const QUEUE: usize = 64;

/// What a node brings to its session. Everything is a current value, so that a new session starts with all of it.
pub struct NodeSession {
    /// Connections to managers, with this node's certificate.
    pub connector: Connector,
    /// Addresses of managers, `address:port`. Managers keep it up to date; whoever wires the node keeps it on disk.
    pub managers: watch::Sender<Vec<String>>,
    /// The address that the node advertises; empty if the manager may take where it comes from.
    pub addr: String,
    /// Where its VXLAN traffic goes, if not to that address.
    pub data_path_addr: Option<IpAddr>,
    /// What the node tells of itself.
    pub description: watch::Receiver<NodeDescription>,
    /// What it has seen of its tasks. What changes is reported; a new session reports all of it.
    pub statuses: watch::Receiver<Arc<BTreeMap<TaskId, TaskStatus>>>,
    /// How far it has come with what it was told.
    pub progress: watch::Receiver<Progress>,
    /// The connections that it gives to tasks whose services are balanced by them.
    pub connections: watch::Receiver<Connections>,
    /// What it should hold; written here.
    pub assignments: watch::Sender<Arc<Assignment>>,
    /// How the session goes; written here.
    pub state: watch::Sender<SessionState>,
    /// Rung when a manager wants the certificate to be renewed.
    pub renew: Arc<Notify>,
    /// Serves streams.
    pub streams: Arc<dyn StreamHandler>,
}

/// How the session goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SessionState {
    /// There is none yet.
    #[default]
    Connecting,
    /// It stands.
    Connected {
        /// With the manager at this address.
        manager: String,
    },
    /// There is none at the moment; another attempt follows.
    Lost {
        /// Why.
        error: String,
    },
}

/// Serves the streams that managers ask for.
#[async_trait]
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one stream until it is over. Dropped when the node shuts down.
    async fn open(&self, kind: StreamKind, io: StreamIo);
}

/// Both directions of a stream.
pub struct StreamIo {
    /// From the manager. [`Frame::End`] ends this direction in order; if the stream itself ends, nobody listens any
    /// more.
    pub inbound: Inbound<Frame>,
    /// To the manager; dropping it ends the stream. Closed when the manager has hung up.
    pub outbound: mpsc::Sender<Frame>,
}

/// Keeps a session with the managers until `shutdown`.
pub async fn run_session(mut session: NodeSession, shutdown: CancellationToken) {
    let mut streams = JoinSet::new();
    let mut backoff = Backoff::new(FIRST_RETRY, SLOWEST_RETRY);
    let (mut hint, mut last) = (None, None);
    while !shutdown.is_cancelled() {
        let hinted = hint.is_some();
        let Some(manager) = hint.take().or_else(|| session.any_manager(last.as_deref())) else {
            session.lost("no manager is known");
            wait(backoff.delay(), &shutdown).await;
            continue;
        };
        let mut reached = false;
        let outcome = tokio::select! {
            outcome = session.attempt(&manager, &mut streams, &mut reached) => outcome,
            () = shutdown.cancelled() => return,
        };
        if reached {
            backoff.reset();
        }
        match outcome {
            Ok(()) => continue,
            Err(error) => {
                session.lost(&chain(&error));
                hint = leader_in(&error).filter(|leader| !hinted && leader != &manager);
                debug!(%manager, error = chain(&error), leader = hint, "the session is over");
            }
        }
        last = Some(manager);
        if hint.is_none() {
            wait(backoff.delay(), &shutdown).await;
        }
    }
}

async fn wait(delay: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = shutdown.cancelled() => {}
    }
}

fn leader_in(error: &PeerError) -> Option<String> {
    match error {
        PeerError::Refused(status) => leader_of(status),
        _ => None,
    }
}

fn chain(error: &PeerError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        text = format!("{text}: {deeper}");
        source = deeper.source();
    }
    text
}

impl NodeSession {
    /// Another one than the last, if there is one.
    fn any_manager(&self, last: Option<&str>) -> Option<String> {
        let managers = self.managers.borrow();
        let others: Vec<&String> = managers.iter().filter(|manager| Some(manager.as_str()) != last).collect();
        others
            .choose(&mut rand::rng())
            .map(|manager| (*manager).clone())
            .or_else(|| managers.first().cloned())
    }

    fn lost(&self, error: &str) {
        self.state.send_replace(SessionState::Lost { error: error.to_owned() });
    }

    /// One session. Ends in order when the certificate was replaced, so that the next one shows the new one.
    async fn attempt(
        &mut self,
        manager: &str,
        streams: &mut JoinSet<()>,
        reached: &mut bool,
    ) -> Result<(), PeerError> {
        let mut credentials = self.connector.credentials().watch();
        credentials.borrow_and_update();
        let mut client = PeerClient::over(self.connector.connect(manager).await?, manager);
        let (outbound, queue) = mpsc::channel(QUEUE);
        let hello = NodeMessage::Hello(Box::new(Hello {
            protocol: PROTOCOL,
            description: self.description.borrow_and_update().clone(),
            addr: self.addr.clone(),
            data_path_addr: self.data_path_addr,
        }));
        let mut talk =
            Talk { manager, outbound, received: 0, reported: BTreeMap::new(), held: None, counts: false };
        talk.say(hello).await?;
        let mut inbound = client.session(ReceiverStream::new(queue)).await?;
        *reached = true;
        info!(manager, "session with the managers");
        self.state.send_replace(SessionState::Connected { manager: manager.to_owned() });
        tokio::select! {
            outcome = self.converse(&mut talk, &mut inbound, &client, streams) => outcome,
            _ = credentials.changed() => Ok(()),
        }
    }

    async fn converse(
        &mut self,
        talk: &mut Talk<'_>,
        inbound: &mut Inbound<ManagerMessage>,
        client: &PeerClient,
        streams: &mut JoinSet<()>,
    ) -> Result<(), PeerError> {
        let mut period = HEARTBEAT_PERIOD;
        let mut beat_at = Instant::now();
        let (mut report_at, mut connections_at) = (beat_at, beat_at);
        let (mut alive_at, mut beaten_at) = (beat_at, beat_at);
        self.statuses.mark_changed();
        loop {
            tokio::select! {
                message = inbound.next() => match message {
                    Some(Ok(message)) => {
                        if let ManagerMessage::HeartbeatPeriod(nanos) = &message {
                            period = nanos_to_duration(*nanos);
                            beat_at = beat_at.min(Instant::now() + period);
                        }
                        self.heard(message, talk, client, streams).await?;
                    }
                    Some(Err(status)) => return Err(error_of(talk.manager, status)),
                    None => return Err(Status::unavailable("the manager ended the session").into()),
                },
                () = sleep_until(beat_at) => {
                    let progress = self.progress.borrow_and_update().clone();
                    talk.say(NodeMessage::Heartbeat { received: talk.received, progress }).await?;
                    beaten_at = Instant::now();
                    beat_at = beaten_at + period;
                    self.connections.mark_changed();
                }
                Ok(()) = wait_for(connections_at, &mut self.connections) => {
                    let connections = self.connections.borrow_and_update().clone();
                    talk.tell_connections(connections).await?;
                    connections_at = Instant::now() + CONNECTIONS_SPACING;
                }
                () = sleep_until(alive_at) => {
                    talk.say(NodeMessage::Alive).await?;
                    alive_at = Instant::now() + ALIVE_PERIOD;
                }
                Ok(()) = self.progress.changed() => beat_at = beat_at.min(beaten_at + SPACING),
                Ok(()) = wait_for(report_at, &mut self.statuses) => {
                    let statuses = Arc::clone(&self.statuses.borrow_and_update());
                    talk.report(&statuses).await?;
                    report_at = Instant::now() + SPACING;
                }
                Ok(()) = self.description.changed() => {
                    let description = self.description.borrow_and_update().clone();
                    talk.say(NodeMessage::Description(Box::new(description))).await?;
                }
                Some(_) = streams.join_next() => {}
            }
        }
    }

    async fn heard(
        &self,
        message: ManagerMessage,
        talk: &mut Talk<'_>,
        client: &PeerClient,
        streams: &mut JoinSet<()>,
    ) -> Result<(), PeerError> {
        match message {
            ManagerMessage::Assignment(whole) => self.hold(talk, Arc::new(*whole)),
            ManagerMessage::AssignmentDiff(diff) => {
                let next = talk.held.as_ref().map(|held| diff.apply(held));
                match next {
                    Some(Ok(next)) => self.hold(talk, Arc::new(next)),
                    Some(Err(mismatch)) => {
                        warn!(%mismatch, "asking for the whole assignment");
                        talk.held = None;
                        talk.say(NodeMessage::NeedAssignment).await?;
                    }
                    // The whole has been asked for already and is on its way.
                    None => {}
                }
            }
            ManagerMessage::HeartbeatPeriod(_) => {}
            ManagerMessage::Managers(managers) => {
                self.managers.send_if_modified(|known| {
                    let changed = !managers.is_empty() && *known != managers;
                    if changed {
                        *known = managers;
                    }
                    changed
                });
            }
            ManagerMessage::RenewCertificate => self.renew.notify_one(),
            ManagerMessage::Stream(request) => {
                streams.spawn(serve_stream(client.clone(), request, Arc::clone(&self.streams)));
            }
        }
        Ok(())
    }

    fn hold(&self, talk: &mut Talk<'_>, next: Arc<Assignment>) {
        talk.received = next.version;
        talk.held = Some(Arc::clone(&next));
        self.assignments.send_replace(next);
    }
}

/// Until a change, but not before `at`.
async fn wait_for<T>(at: Instant, changes: &mut watch::Receiver<T>) -> Result<(), watch::error::RecvError> {
    sleep_until(at).await;
    changes.changed().await
}

/// What was said in one session.
struct Talk<'a> {
    manager: &'a str,
    outbound: mpsc::Sender<NodeMessage>,
    /// The newest assignment that came.
    received: u64,
    /// The same in full, which differences apply to.
    held: Option<Arc<Assignment>>,
    reported: BTreeMap<TaskId, TaskStatus>,
    /// Whether the manager holds any counts of connections from here.
    counts: bool,
}

impl Talk<'_> {
    async fn say(&self, message: NodeMessage) -> Result<(), PeerError> {
        self.outbound
            .send_timeout(message, SEND_DEADLINE)
            .await
            .map_err(|_| PeerError::TimedOut { addr: self.manager.to_owned() })
    }

    /// Most nodes have nothing to tell, and are silent once they have said so.
    async fn tell_connections(&mut self, connections: Connections) -> Result<(), PeerError> {
        let had_any = std::mem::replace(&mut self.counts, !connections.is_empty());
        if connections.is_empty() && !had_any {
            return Ok(());
        }
        self.say(NodeMessage::Connections(connections)).await
    }

    async fn report(&mut self, statuses: &BTreeMap<TaskId, TaskStatus>) -> Result<(), PeerError> {
        let news = statuses.iter().filter(|(id, status)| self.reported.get(*id) != Some(status));
        let reports: Vec<TaskReport> =
            news.map(|(id, status)| TaskReport { id: id.clone(), status: status.clone() }).collect();
        self.reported.clone_from(statuses);
        if reports.is_empty() {
            return Ok(());
        }
        self.say(NodeMessage::Reports(reports)).await
    }
}

async fn serve_stream(mut client: PeerClient, request: StreamRequest, handler: Arc<dyn StreamHandler>) {
    let (outbound, queue) = mpsc::channel(QUEUE);
    let (to_handler, from_manager) = mpsc::channel(QUEUE);
    // When the manager hangs up, the handler must find its sender closed even if it has nothing to send.
    let hung_up = CancellationToken::new();
    let queue = ReceiverStream::new(queue).take_until(hung_up.clone().cancelled_owned());
    let mut inbound = match client.stream(request.id, queue).await {
        Ok(inbound) => inbound,
        Err(error) => return debug!(error = chain(&error), "a stream could not be opened"),
    };
    let hear = pin!(async move {
        while let Some(frame) = inbound.next().await {
            // A handler that has ended hears no more, but the rest is taken all the same.
            let _ = to_handler.send(frame).await;
        }
        hung_up.cancel();
    });
    let io = StreamIo { inbound: ReceiverStream::new(from_manager).boxed(), outbound };
    match select(handler.open(request.kind, io), hear).await {
        // The manager ends its side when it has read everything. Letting go before that would cancel the call, and what
        // is still on its way with it. A manager that takes longer has lost interest.
        Either::Left(((), hear)) => _ = tokio::time::timeout(SEND_DEADLINE, hear).await,
        Either::Right(((), handling)) => handling.await,
    }
}
