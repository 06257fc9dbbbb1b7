//! A node's session: the whole, differences, reconnecting, renewal, streams.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use shoal_model::assignment::Connections;
use shoal_model::node::{NodeDescription, NodeRole};
use shoal_model::object::DataSpec;
use shoal_model::{
    Assignment, Config, ConfigId, Meta, NodeId, ServiceId, TaskId, TaskReport, TaskState, TaskStatus,
};
use shoal_peer::{
    Code, Connector, Control, Credentials, ExecRequest, Frame, Hello, IdentityFiles, LogQuery,
    ManagerMessage, NodeMessage, NodeSession, PROTOCOL, PeerClient, PeerError, Progress, RelayRequest,
    SessionState, StreamHandler, StreamIo, StreamKind, keep_certificate_fresh, run_session,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Cluster, Manager, Session, eventually, refusal, within};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A node with its session running; stops when dropped.
struct Node {
    id: NodeId,
    connector: Connector,
    managers: watch::Sender<Vec<String>>,
    assignments: watch::Receiver<Arc<Assignment>>,
    state: watch::Receiver<SessionState>,
    statuses: watch::Sender<Arc<BTreeMap<TaskId, TaskStatus>>>,
    progress: watch::Sender<Progress>,
    connections: watch::Sender<Connections>,
    description: watch::Sender<NodeDescription>,
    renew: Arc<Notify>,
    running: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    _stop_at_the_end: DropGuard,
}

impl Node {
    fn start(cluster: &Cluster, managers: &[&Manager]) -> Self {
        let id = NodeId::from_random(rand::random());
        let connector = cluster.connector(&id, NodeRole::Worker);
        let managers = watch::Sender::new(managers.iter().map(|m| m.addr.clone()).collect());
        let (assignments, held) = watch::channel(Arc::default());
        let (state, seen) = watch::channel(SessionState::Connecting);
        let (statuses, progress, description) =
            (watch::Sender::default(), watch::Sender::default(), watch::Sender::default());
        let connections = watch::Sender::default();
        let renew = Arc::new(Notify::new());
        let session = NodeSession {
            connector: connector.clone(),
            managers: managers.clone(),
            addr: "192.0.2.7".to_owned(),
            data_path_addr: None,
            description: description.subscribe(),
            statuses: statuses.subscribe(),
            progress: progress.subscribe(),
            connections: connections.subscribe(),
            assignments,
            state,
            renew: Arc::clone(&renew),
            streams: Arc::new(Echo),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run_session(session, stop.clone()));
        let guard = stop.clone().drop_guard();
        Self {
            id,
            connector,
            managers,
            assignments: held,
            state: seen,
            statuses,
            progress,
            connections,
            description,
            renew,
            running,
            stop,
            _stop_at_the_end: guard,
        }
    }

    async fn holds(&mut self, wanted: &Assignment) {
        within(self.assignments.wait_for(|held| **held == *wanted)).await.unwrap();
    }
}

/// Followed logs being served. They stay quiet, and end when nobody listens any more.
static LISTENING: AtomicUsize = AtomicUsize::new(0);

/// Says back what it hears; when it has heard the end, it tells how much it was, and ends.
struct Echo;

#[async_trait]
impl StreamHandler for Echo {
    async fn open(&self, kind: StreamKind, mut io: StreamIo) {
        if let StreamKind::Logs { query: LogQuery { follow: true, .. }, .. } = kind {
            LISTENING.fetch_add(1, Ordering::SeqCst);
            io.outbound.closed().await;
            LISTENING.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let StreamKind::Exec { request, .. } = kind else {
            let message = "no such task".to_owned();
            let _ = io.outbound.send(Frame::Control(Control::Failed { message })).await;
            return;
        };
        let _ = io.outbound.send(Frame::Stderr(request.cmd.join(" ").into())).await;
        let mut heard = 0;
        while let Some(Ok(frame)) = io.inbound.next().await {
            match frame {
                Frame::Stdin(bytes) => {
                    heard += bytes.len();
                    let _ = io.outbound.send(Frame::Stdout(bytes)).await;
                }
                Frame::End => break,
                _ => {}
            }
        }
        let code = i32::try_from(heard).unwrap();
        let _ = io.outbound.send(Frame::Control(Control::Exit { code })).await;
        let _ = io.outbound.send(Frame::End).await;
    }
}

fn config(n: u32) -> (ConfigId, Config) {
    let id = ConfigId::from_random(u128::from(n));
    let spec = DataSpec { name: format!("config-{n}"), ..DataSpec::default() };
    (id.clone(), Config { id, meta: Meta::default(), spec })
}

fn assignment(version: u64, configs: std::ops::Range<u32>) -> Assignment {
    Assignment { version, configs: configs.map(config).collect(), ..Assignment::default() }
}

async fn heartbeat(session: &mut Session, wanted: impl Fn(u64, &Progress) -> bool) {
    loop {
        let event = within(session.events.recv()).await.expect("the session is over");
        if let NodeMessage::Heartbeat { received, progress } = event
            && wanted(received, &progress)
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_node_gets_the_whole_then_differences_and_says_how_far_it_is() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    manager.brain.assignments.send_replace(Arc::new(assignment(3, 0..500)));
    let mut node = Node::start(&cluster, &[&manager]);
    let mut session = manager.next_session().await;
    assert_eq!(session.peer.node, node.id);
    assert_eq!(session.hello.addr, "192.0.2.7");
    node.holds(&assignment(3, 0..500)).await;
    heartbeat(&mut session, |received, _| received == 3).await;

    for (version, range) in [(4, 0..501), (9, 7..400), (10, 0..0), (11, 0..3)] {
        manager.brain.assignments.send_replace(Arc::new(assignment(version, range.clone())));
        node.holds(&assignment(version, range)).await;
    }
    node.progress.send_replace(Progress { applied: 11, digest: "d".to_owned() });
    heartbeat(&mut session, |received, progress| (received, progress.applied) == (11, 11)).await;

    node.description.send_modify(|description| description.hostname = "renamed".to_owned());
    loop {
        if let Some(NodeMessage::Description(description)) = within(session.events.recv()).await {
            assert_eq!(description.hostname, "renamed");
            break;
        }
    }
    assert_eq!(*node.state.borrow(), SessionState::Connected { manager: manager.addr.clone() });
}

async fn told_connections(session: &mut Session) -> Connections {
    loop {
        let event = within(session.events.recv()).await.expect("the session is over");
        if let NodeMessage::Connections(connections) = event {
            return connections;
        }
    }
}

#[tokio::test]
async fn connections_are_told_when_they_move_again_with_each_heartbeat_and_not_when_there_are_none() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    let node = Node::start(&cluster, &[&manager]);
    let mut session = manager.next_session().await;
    let given =
        |count| Connections::from([(ServiceId::from_random(1), [(TaskId::from_random(2), count)].into())]);
    // Nothing has been told of none: what is heard first is what there is.
    heartbeat(&mut session, |_, _| true).await;
    node.connections.send_replace(given(7));
    assert_eq!(told_connections(&mut session).await, given(7));
    // Whatever the manager has forgotten meanwhile, it hears it again.
    node.progress.send_replace(Progress { applied: 1, digest: String::new() });
    assert_eq!(told_connections(&mut session).await, given(7));
    node.connections.send_replace(Connections::new());
    assert_eq!(told_connections(&mut session).await, Connections::new());
    node.progress.send_replace(Progress { applied: 2, digest: String::new() });
    heartbeat(&mut session, |_, progress| progress.applied == 2).await;
    node.connections.send_replace(given(1));
    assert_eq!(told_connections(&mut session).await, given(1), "of none nothing is said again");
}

#[tokio::test]
async fn a_difference_that_does_not_fit_brings_the_whole_again() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    manager.brain.assignments.send_replace(Arc::new(assignment(3, 0..5)));
    let mut node = Node::start(&cluster, &[&manager]);
    let session = manager.next_session().await;
    node.holds(&assignment(3, 0..5)).await;
    // A difference from a version that the node never had, out of turn.
    let stray = shoal_peer::AssignmentDiff::between(&assignment(77, 0..5), &assignment(78, 0..2));
    session.say.send(ManagerMessage::AssignmentDiff(Box::new(stray))).await.unwrap();
    node.assignments.mark_unchanged();
    within(node.assignments.changed()).await.unwrap();
    assert_eq!(**node.assignments.borrow(), assignment(3, 0..5));
    manager.brain.assignments.send_replace(Arc::new(assignment(4, 0..6)));
    node.holds(&assignment(4, 0..6)).await;
}

fn hello(protocol: u32) -> Hello {
    Hello { protocol, description: NodeDescription::default(), addr: String::new(), data_path_addr: None }
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, ..TaskStatus::default() }
}

async fn reports(session: &mut Session) -> Vec<TaskReport> {
    loop {
        let event = within(session.events.recv()).await.expect("the session is over");
        if let NodeMessage::Reports(reports) = event {
            return reports;
        }
    }
}

#[tokio::test]
async fn statuses_are_told_once_and_all_again_to_another_manager() {
    let cluster = Arc::new(Cluster::new());
    let (mut first, mut second) = (Manager::start(&cluster).await, Manager::start(&cluster).await);
    let node = Node::start(&cluster, &[&first]);
    let mut session = first.next_session().await;
    let (a, b) = (TaskId::from_random(1), TaskId::from_random(2));
    let tell = |statuses: &[(&TaskId, TaskState)]| {
        let all = statuses.iter().map(|(id, state)| ((*id).clone(), status(*state))).collect();
        node.statuses.send_replace(Arc::new(all));
    };
    tell(&[(&a, TaskState::Preparing), (&b, TaskState::Running)]);
    let told = reports(&mut session).await;
    assert_eq!(told.len(), 2);
    tell(&[(&a, TaskState::Running), (&b, TaskState::Running)]);
    let told = reports(&mut session).await;
    assert_eq!(told, vec![TaskReport { id: a.clone(), status: status(TaskState::Running) }]);

    // The leader changes: the node is sent on, and tells everything again.
    *first.brain.leader.lock().unwrap() = Some(second.addr.clone());
    drop(session);
    let mut session = second.next_session().await;
    assert_eq!(reports(&mut session).await.len(), 2);
    eventually("the node to know the managers", || *node.managers.borrow() == vec![second.addr.clone()])
        .await;
}

#[tokio::test]
async fn a_node_comes_back_by_itself_and_keeps_what_it_holds_meanwhile() {
    let cluster = Arc::new(Cluster::new());
    let (mut first, mut second) = (Manager::start(&cluster).await, Manager::start(&cluster).await);
    first.brain.managers.send_replace(vec![first.addr.clone(), second.addr.clone()]);
    first.brain.assignments.send_replace(Arc::new(assignment(3, 0..5)));
    let mut node = Node::start(&cluster, &[&first]);
    let session = first.next_session().await;
    node.holds(&assignment(3, 0..5)).await;
    eventually("the node to know both managers", || node.managers.borrow().len() == 2).await;

    first.stop.cancel();
    drop(session);
    within(&mut first.serving).await.unwrap();
    within(node.state.wait_for(|state| matches!(state, SessionState::Lost { .. }))).await.unwrap();
    second.brain.assignments.send_replace(Arc::new(assignment(5, 0..9)));
    assert_eq!(**node.assignments.borrow(), assignment(3, 0..5));
    second.next_session().await;
}

#[tokio::test]
async fn a_silent_node_is_given_up_and_a_stopping_one_ends_at_once() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    manager.brain.heartbeat.send_replace(Duration::from_millis(100));
    // It says hello and nothing more, in the raw.
    let connector = cluster.connector(&NodeId::from_random(1), NodeRole::Worker);
    let mut client = PeerClient::new(&connector, &manager.addr).unwrap();
    let said = futures::stream::iter([NodeMessage::Hello(Box::new(hello(PROTOCOL)))]);
    let mut silent = client.session(said.chain(futures::stream::pending())).await.unwrap();
    let mut session = manager.next_session().await;
    assert!(within(session.events.recv()).await.is_none(), "three heartbeats are missing");
    let last = within(async {
        loop {
            if let Some(Err(status)) = silent.next().await {
                return status;
            }
        }
    })
    .await;
    assert_eq!((last.code(), last.message()), (Code::DeadlineExceeded, "the node's heartbeats stopped"));

    let node = Node::start(&cluster, &[&manager]);
    let mut session = manager.next_session().await;
    heartbeat(&mut session, |_, _| true).await;
    node.stop.cancel();
    within(async { while session.events.recv().await.is_some() {} }).await;
    within(node.running).await.unwrap();
}

#[tokio::test]
async fn another_protocol_is_told_so() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    let connector = cluster.connector(&NodeId::from_random(1), NodeRole::Worker);
    let mut client = PeerClient::new(&connector, &manager.addr).unwrap();
    let said = futures::stream::iter([NodeMessage::Hello(Box::new(hello(99)))]);
    let (code, words) = refusal(client.session(said).await.map(drop));
    assert_eq!(code, Code::FailedPrecondition);
    assert_eq!(words, "this manager speaks protocol 1, the node speaks 99: both must run the same version");

    let (code, _) =
        refusal(client.session(futures::stream::iter([NodeMessage::NeedAssignment])).await.map(drop));
    assert_eq!(code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    let connector = cluster.connector(&NodeId::from_random(1), NodeRole::Manager);
    let mut client = PeerClient::new(&connector, &manager.addr).unwrap();
    let large = Bytes::from(vec![7_u8; 20 * 1024 * 1024]);
    assert_eq!(client.raft(large.clone()).await.unwrap(), large);
    let beyond = Bytes::from(vec![7_u8; shoal_peer::MESSAGE_LIMIT_BYTES + 1]);
    assert_eq!(refusal(client.raft(beyond).await).0, Code::OutOfRange);
    assert_eq!(client.raft(b"ab".as_slice().into()).await.unwrap(), b"ba".as_slice());
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_once() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    let node = Node::start(&cluster, &[&manager]);
    let session = manager.next_session().await;
    assert_eq!(session.peer.role, NodeRole::Worker);
    let dir = tempfile::tempdir().unwrap();
    let files = IdentityFiles::new(dir.path());
    let fresh = keep_certificate_fresh(
        node.connector.clone(),
        node.managers.subscribe(),
        files.clone(),
        Arc::clone(&node.renew),
        node.stop.clone(),
    );
    tokio::spawn(fresh);

    *manager.brain.promote.lock().unwrap() = Some(NodeRole::Manager);
    let before = node.connector.credentials().identity();
    session.say.send(ManagerMessage::RenewCertificate).await.unwrap();
    let next = manager.next_session().await;
    assert_eq!(next.peer.role, NodeRole::Manager, "the next session shows the new certificate");
    assert_eq!(next.peer.key_digest, before.peer().key_digest, "a node is its key");
    let saved = files.load().unwrap().unwrap();
    assert_eq!(saved.peer().role, NodeRole::Manager);
    let mut client = PeerClient::new(&node.connector, &manager.addr).unwrap();
    client.raft(b"ab".as_slice().into()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_in_the_last_part_of_its_life_is_renewed_unasked() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    let id = NodeId::from_random(4);
    let old = cluster.identity_of(&id, NodeRole::Worker, support::days_ago(80));
    let (until, connector) = (old.peer().not_after, Connector::new(Credentials::new(old).unwrap()));
    let dir = tempfile::tempdir().unwrap();
    let managers = watch::Sender::new(vec!["127.0.0.1:1".to_owned(), manager.addr.clone()]);
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    tokio::spawn(keep_certificate_fresh(
        connector.clone(),
        managers.subscribe(),
        IdentityFiles::new(dir.path()),
        Arc::default(),
        stop,
    ));
    eventually("a new certificate", || connector.credentials().identity().peer().not_after > until).await;
}

fn exec() -> StreamKind {
    let request = ExecRequest { cmd: vec!["echo".to_owned(), "hi".to_owned()], ..ExecRequest::default() };
    StreamKind::Exec { task: TaskId::from_random(1), request }
}

#[tokio::test]
async fn a_stream_goes_both_ways_and_half_closes() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    let node = Node::start(&cluster, &[&manager]);
    let session = manager.next_session().await;
    let mut stream = within(manager.brain.broker.open(&node.id, exec(), &session.say)).await.unwrap();
    assert_eq!(within(stream.inbound.next()).await.unwrap().unwrap(), Frame::Stderr("echo hi".into()));
    stream.outbound.send(Frame::Stdin("abc".into())).await.unwrap();
    assert_eq!(within(stream.inbound.next()).await.unwrap().unwrap(), Frame::Stdout("abc".into()));
    stream.outbound.send(Frame::End).await.unwrap();
    let exit = Frame::Control(Control::Exit { code: 3 });
    assert_eq!(within(stream.inbound.next()).await.unwrap().unwrap(), exit);
    assert_eq!(within(stream.inbound.next()).await.unwrap().unwrap(), Frame::End);
    assert!(within(stream.inbound.next()).await.is_none());

    let logs = StreamKind::Logs { task: TaskId::from_random(1), query: LogQuery::default() };
    let mut stream = within(manager.brain.broker.open(&node.id, logs, &session.say)).await.unwrap();
    let failed = Frame::Control(Control::Failed { message: "no such task".to_owned() });
    assert_eq!(within(stream.inbound.next()).await.unwrap().unwrap(), failed);
}

#[tokio::test]
async fn a_node_notices_that_nobody_listens_to_a_quiet_stream() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    let node = Node::start(&cluster, &[&manager]);
    let session = manager.next_session().await;
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let logs = StreamKind::Logs { task: TaskId::from_random(1), query };
    let stream = within(manager.brain.broker.open(&node.id, logs, &session.say)).await.unwrap();
    eventually("the stream to be served", || LISTENING.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    eventually("the handler to notice", || LISTENING.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_stream_outlives_the_renewal_of_the_session() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    let node = Node::start(&cluster, &[&manager]);
    let session = manager.next_session().await;
    let mut stream = within(manager.brain.broker.open(&node.id, exec(), &session.say)).await.unwrap();
    within(stream.inbound.next()).await.unwrap().unwrap();
    node.connector.credentials().swap(cluster.identity(&node.id, NodeRole::Worker)).unwrap();
    manager.next_session().await;
    stream.outbound.send(Frame::Stdin("still here".into())).await.unwrap();
    assert_eq!(within(stream.inbound.next()).await.unwrap().unwrap(), Frame::Stdout("still here".into()));
}

#[tokio::test]
async fn a_stream_nobody_asked_for_or_another_node_takes_is_refused() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    let thief = cluster.connector(&NodeId::from_random(66), NodeRole::Worker);
    let mut client = PeerClient::new(&thief, &manager.addr).unwrap();
    let nothing = || futures::stream::empty();
    assert_eq!(refusal(client.stream("guess".to_owned(), nothing()).await.map(drop)).0, Code::NotFound);

    // The request goes to a node that never calls back; its id gets into the wrong hands.
    let (say, mut heard) = mpsc::channel(1);
    let (broker, node) = (manager.brain.broker.clone(), NodeId::from_random(1));
    let opening = tokio::spawn(async move { broker.open(&node, exec(), &say).await });
    let Some(ManagerMessage::Stream(request)) = within(heard.recv()).await else { panic!("no request") };
    assert_eq!(refusal(client.stream(request.id, nothing()).await.map(drop)).0, Code::NotFound);
    let waited = within(opening).await.unwrap();
    assert!(matches!(waited, Err(PeerError::TimedOut { .. })), "it must not wait for ever");
    let _ = &mut manager;
}

#[tokio::test]
async fn another_manager_gets_a_stream_by_way_of_the_leader() {
    let cluster = Arc::new(Cluster::new());
    let mut leader = Manager::start(&cluster).await;
    let node = Node::start(&cluster, &[&leader]);
    let _session = leader.next_session().await;
    let other = cluster.connector(&NodeId::from_random(9), NodeRole::Manager);
    let mut client = PeerClient::new(&other, &leader.addr).unwrap();

    let (input, queue) = mpsc::channel(4);
    let asked = RelayRequest { node: node.id.clone(), kind: exec() };
    let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
    let mut inbound = within(client.relay(asked, queue)).await.unwrap();
    assert_eq!(within(inbound.next()).await.unwrap().unwrap(), Frame::Stderr("echo hi".into()));
    // Far more than what fits into all the queues on the way, in both directions at once.
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    let (pieces, sent) = (200, piece.clone());
    let sender = tokio::spawn(async move {
        for _ in 0..pieces {
            input.send(Frame::Stdin(sent.clone())).await.unwrap();
        }
        input.send(Frame::End).await.unwrap();
        input
    });
    for _ in 0..pieces {
        assert_eq!(within(inbound.next()).await.unwrap().unwrap(), Frame::Stdout(piece.clone()));
    }
    let code = i32::try_from(pieces * piece.len()).unwrap();
    assert_eq!(within(inbound.next()).await.unwrap().unwrap(), Frame::Control(Control::Exit { code }));
    assert_eq!(within(inbound.next()).await.unwrap().unwrap(), Frame::End);
    drop(within(sender).await.unwrap());

    let nobody = RelayRequest { node: NodeId::from_random(404), kind: exec() };
    let refused = client.relay(nobody, futures::stream::empty()).await.map(drop);
    assert_eq!(refusal(refused).0, Code::Unavailable);
}

#[tokio::test]
async fn closing_the_port_ends_sessions_in_order() {
    let cluster = Arc::new(Cluster::new());
    let mut manager = Manager::start(&cluster).await;
    let mut node = Node::start(&cluster, &[&manager]);
    let _session = manager.next_session().await;
    within(node.state.wait_for(|state| matches!(state, SessionState::Connected { .. }))).await.unwrap();
    manager.stop.cancel();
    within(&mut manager.serving).await.unwrap();
    within(node.state.wait_for(|state| matches!(state, SessionState::Lost { .. }))).await.unwrap();
}
