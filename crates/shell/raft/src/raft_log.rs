//! The real log: opened, written to, closed.

use crate::batcher::{self, Proposal, not_leader, stopped, why_stopped};
use crate::leadership;
use crate::log_store::LogStore;
use crate::message::{Addressed, Message};
use crate::network::{LastHeard, Network};
use crate::snapshot_file::SnapshotFile;
use crate::state_machine::{Published, StateMachine};
use crate::types::{Place, Raft};
use crate::{HandleError, Leadership, Log, Member, OpenError, Options, ProposeError, Transport};
use async_trait::async_trait;
use openraft::error::{CheckIsLeaderError, RaftError};
use openraft::{Config, SnapshotPolicy};
use serde::Serialize;
use shoal_store::{Batch, Entry, State};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Members whose log lags this far behind a snapshot's interval get the snapshot.
const LAG_INTERVALS: u64 = 2;
/// Entries in one message, at most; a limit in bytes comes first where they are large.
const MESSAGE_ENTRIES: u64 = 256;
/// For one piece of a snapshot (3 MiB, the library's size) on its way and, for the last one, the installation.
const SNAPSHOT_PIECE_DEADLINE: Duration = Duration::from_secs(30);
/// For the first election of a group of one, which takes milliseconds.
const FIRST_ELECTION_DEADLINE: Duration = Duration::from_secs(10);
/// A shutdown waits this long for what is being written.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The replicated log of this manager.
pub struct RaftLog {
    pub(crate) raft: Raft,
    pub(crate) options: Options,
    me: Member,
    store: LogStore,
    published: Published,
    leadership: watch::Receiver<Leadership>,
    proposals: mpsc::Sender<Proposal>,
    tasks: Mutex<JoinSet<()>>,
}

impl RaftLog {
    /// Begins a new group of one, with `initial` as its first entry. An unfinished attempt in the same directory is
    /// thrown away.
    pub async fn create(
        dir: &Path,
        me: Member,
        transport: Arc<dyn Transport>,
        options: Options,
        initial: Entry,
    ) -> Result<Self, OpenError> {
        let file = SnapshotFile::new(dir);
        let store = new_store(dir, &file)?;
        let log = Self::start(dir, file, store, me.clone(), transport, options).await?;
        let begun = log.begin(initial).await.and_then(|()| {
            let noted = log.store.set_member(&me);
            noted.map_err(|e| OpenError::Storage { dir: dir.to_owned(), what: e.to_string() })
        });
        if begun.is_err() {
            log.shutdown().await;
        }
        begun.map(|()| log)
    }

    /// Makes this manager the only member and writes the first entry.
    async fn begin(&self, initial: Entry) -> Result<(), OpenError> {
        let failed = |what: String| OpenError::First(ProposeError::Storage(what));
        let first = BTreeMap::from([(self.me.raft_id, Place::of(&self.me))]);
        self.raft.initialize(first).await.map_err(|e| failed(e.to_string()))?;
        self.until_leader(FIRST_ELECTION_DEADLINE).await.map_err(OpenError::First)?;
        let written = self.raft.client_write(initial).await.map_err(|e| failed(e.to_string()))?;
        let outcome: Result<(), _> = written.data.into_iter().collect();
        outcome.map_err(|refused| OpenError::First(refused.into()))
    }

    /// Begins with nothing and waits to be let in by the leader ([`Log::add_voter`]), which sends everything. An
    /// unfinished attempt in the same directory is thrown away.
    pub async fn join(
        dir: &Path,
        me: Member,
        transport: Arc<dyn Transport>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let file = SnapshotFile::new(dir);
        let store = new_store(dir, &file)?;
        let failed = |what: String| OpenError::Storage { dir: dir.to_owned(), what };
        store.set_member(&me).map_err(|e| failed(e.to_string()))?;
        Self::start(dir, file, store, me, transport, options).await
    }

    /// Goes on where this manager stopped. Who it is, is in the directory.
    pub async fn open(
        dir: &Path,
        transport: Arc<dyn Transport>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let file = SnapshotFile::new(dir);
        let (store, me) = existing_store(dir, &file)?;
        let log = Self::start(dir, file, store, me, transport, options).await?;
        if log.is_alone() {
            // Nobody else could have been elected meanwhile. A failure is not one: the election comes by itself then.
            let _ = log.raft.trigger().elect().await;
        }
        Ok(log)
    }

    /// Whether `open` would find a log in this directory, as far as one can tell without opening it.
    pub fn exists(dir: &Path) -> bool {
        dir.join("log.redb").exists()
    }

    /// This manager as the group knows it.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// Answers a message that another manager sent by its [`Transport`].
    pub async fn handle(&self, request: &[u8]) -> Result<Vec<u8>, HandleError> {
        let Addressed { to, message } = Addressed::decode(request)?;
        if to != self.me.raft_id {
            return Err(HandleError::WrongManager { wanted: to, here: self.me.raft_id });
        }
        match message {
            Message::Append(request) => answer(&self.raft.append_entries(request).await),
            Message::Vote(request) => answer(&self.raft.vote(request).await),
            Message::Snapshot(request) => answer(&self.raft.install_snapshot(request).await),
        }
    }

    async fn start(
        dir: &Path,
        file: SnapshotFile,
        store: LogStore,
        me: Member,
        transport: Arc<dyn Transport>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let failed = |what: String| OpenError::Storage { dir: dir.to_owned(), what };
        let machine = StateMachine::open(dir, file)?;
        let published = machine.published();
        let heard = LastHeard::default();
        let network = Network { me: me.raft_id, transport, heard: heard.clone() };
        let config = Arc::new(config(&options).map_err(failed)?);
        let raft = Raft::new(me.raft_id, config, network, store.clone(), machine)
            .await
            .map_err(|e| failed(e.to_string()))?;
        let (leadership, leadership_seen) = watch::channel(Leadership::default());
        let (proposals, queue) = batcher::queue();
        let mut tasks = JoinSet::new();
        tasks.spawn(leadership::follow(raft.metrics(), heard, options.clone(), leadership));
        tasks.spawn(batcher::run(raft.clone(), queue, options.deadline));
        let tasks = Mutex::new(tasks);
        Ok(Self { raft, options, me, store, published, leadership: leadership_seen, proposals, tasks })
    }

    fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let membership = metrics.borrow().membership_config.clone();
        membership.voter_ids().eq([self.me.raft_id])
    }

    async fn until_leader(&self, deadline: Duration) -> Result<(), ProposeError> {
        let mut leadership = self.leadership.clone();
        let leads = leadership.wait_for(|now| now.is_leader);
        match tokio::time::timeout(deadline, leads).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ProposeError::ShuttingDown),
            Err(_) => Err(ProposeError::NoQuorum),
        }
    }

    /// Waits through an election; done at once if this manager leads, or another is known to.
    async fn until_led(&self) -> Result<(), ProposeError> {
        let mut leadership = self.leadership.clone();
        let led = leadership.wait_for(|now| now.is_leader || now.leader.is_some()).await;
        let Ok(now) = led.map(|now| now.clone()) else { return Err(self.why_stopped().await) };
        if now.is_leader { Ok(()) } else { Err(ProposeError::NotLeader { leader: now.leader }) }
    }

    async fn why_stopped(&self) -> ProposeError {
        why_stopped(self.raft.metrics()).await
    }

    /// Within the deadline of writes.
    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ProposeError>>,
    ) -> Result<T, ProposeError> {
        tokio::time::timeout(self.options.deadline, work).await.unwrap_or(Err(ProposeError::NoQuorum))
    }
}

fn new_store(dir: &Path, file: &SnapshotFile) -> Result<LogStore, OpenError> {
    let store = LogStore::open(dir, file.clone())?;
    let failed = |what: String| OpenError::Storage { dir: dir.to_owned(), what };
    if store.member().map_err(|e| failed(e.to_string()))?.is_some() {
        return Err(OpenError::Exists { dir: dir.to_owned() });
    }
    if !store.is_empty() {
        store.clear().map_err(|e| failed(e.to_string()))?;
    }
    file.remove().map_err(|e| failed(e.to_string()))?;
    Ok(store)
}

pub(crate) fn existing_store(dir: &Path, file: &SnapshotFile) -> Result<(LogStore, Member), OpenError> {
    if !RaftLog::exists(dir) {
        return Err(OpenError::Missing { dir: dir.to_owned() });
    }
    let store = LogStore::open(dir, file.clone())?;
    match store.member() {
        Ok(Some(me)) => Ok((store, me)),
        Ok(None) => Err(OpenError::Missing { dir: dir.to_owned() }),
        Err(e) => Err(OpenError::Damaged { dir: dir.to_owned(), what: e.to_string() }),
    }
}

fn config(options: &Options) -> Result<Config, String> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "shoal".to_owned(),
        heartbeat_interval: millis(options.heartbeat),
        // The library waits for the longer of these first, and then for a time between the two.
        election_timeout_min: millis(options.election_timeout / 2),
        election_timeout_max: millis(options.election_timeout * 3 / 4),
        install_snapshot_timeout: millis(SNAPSHOT_PIECE_DEADLINE),
        max_payload_entries: MESSAGE_ENTRIES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_interval),
        replication_lag_threshold: options.snapshot_interval.saturating_mul(LAG_INTERVALS),
        max_in_snapshot_log_to_keep: options.entries_kept,
        ..Config::default()
    }
    .validate()
    .map_err(|e| e.to_string())
}

fn answer<T: Serialize, E: Serialize>(
    outcome: &Result<T, RaftError<u64, E>>,
) -> Result<Vec<u8>, HandleError> {
    if let Err(RaftError::Fatal(fatal)) = outcome {
        return Err(HandleError::Stopped(fatal.to_string()));
    }
    serde_json::to_vec(outcome).map_err(|e| HandleError::Malformed(e.to_string()))
}

#[async_trait]
impl Log for RaftLog {
    async fn propose(&self, batch: Batch) -> Result<u64, ProposeError> {
        self.in_time(async {
            self.until_led().await?;
            let (proposal, answered) = Proposal::new(batch)?;
            if self.proposals.send(proposal).await.is_err() {
                return Err(self.why_stopped().await);
            }
            match answered.await {
                Ok(answer) => answer,
                Err(_) => Err(self.why_stopped().await),
            }
        })
        .await
    }

    fn state(&self) -> Arc<State> {
        self.published.state()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.published.applied()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    async fn read_barrier(&self) -> Result<(), ProposeError> {
        self.in_time(async {
            self.until_led().await?;
            match self.raft.ensure_linearizable().await {
                Ok(_) => Ok(()),
                Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => Err(not_leader(&to)),
                Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                    Err(ProposeError::NoQuorum)
                }
                Err(RaftError::Fatal(fatal)) => Err(stopped(&fatal)),
            }
        })
        .await
    }

    async fn add_voter(&self, member: Member) -> Result<(), ProposeError> {
        self.let_in(member).await
    }

    async fn remove_voter(&self, raft_id: u64) -> Result<(), ProposeError> {
        self.take_out(raft_id).await
    }

    async fn shutdown(&self) {
        let stopping = self.raft.shutdown();
        if tokio::time::timeout(STOP_DEADLINE, stopping).await.is_err() {
            tracing::warn!("the replicated log did not stop in time");
        }
        // Nobody may go on believing that this manager leads: whoever says so hears of the end, and says that before it is
        // itself ended.
        let mut leadership = self.leadership.clone();
        let told = leadership.wait_for(|now| !now.is_leader);
        if tokio::time::timeout(STOP_DEADLINE, told).await.is_err() {
            tracing::warn!("the replicated log still shows this manager as the leader");
        }
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let store = self.store.clone();
        // It only fails if the runtime is gone, and then the file is closed by dropping it.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}
