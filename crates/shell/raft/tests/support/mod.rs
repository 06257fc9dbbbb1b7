//! Several managers in one process, joined by a network that can be cut.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use async_trait::async_trait;
use shoal_model::object::DataSpec;
use shoal_model::{Config, ConfigId, Meta, NodeId, Timestamp};
use shoal_raft::{Log, Member, Options, ProposeError, RaftLog, Transport, TransportError};
use shoal_store::{Batch, Change, Entry, Object};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn options() -> Options {
    Options { deadline: Duration::from_secs(6), ..Options::default() }
}

/// The managers' network.
#[derive(Default)]
pub(crate) struct Lan {
    logs: Mutex<HashMap<u64, Weak<RaftLog>>>,
    cut: Mutex<HashSet<(u64, u64)>>,
}

struct Port {
    lan: Arc<Lan>,
    from: u64,
}

#[async_trait]
impl Transport for Port {
    async fn send(&self, to: &Member, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        self.lan.pass(self.from, to.raft_id).await;
        let log = self.lan.logs.lock().unwrap().get(&to.raft_id).and_then(Weak::upgrade);
        let unreachable = || TransportError::Unreachable { addr: to.addr.clone(), why: "it is down".into() };
        let answer = log.ok_or_else(unreachable)?.handle(&request).await;
        let broken =
            |e: shoal_raft::HandleError| TransportError::Broken { addr: to.addr.clone(), why: e.to_string() };
        let answer = answer.map_err(broken)?;
        self.lan.pass(to.raft_id, self.from).await;
        Ok(answer)
    }
}

impl Lan {
    /// Returns when the way is open: what is sent into a cut is never heard of again while it lasts.
    async fn pass(&self, from: u64, to: u64) {
        while self.cut.lock().unwrap().contains(&(from, to)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn cut(&self, one: u64, others: &[u64]) {
        let mut cut = self.cut.lock().unwrap();
        for other in others {
            cut.insert((one, *other));
            cut.insert((*other, one));
        }
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

/// Several managers.
pub(crate) struct Group {
    pub(crate) lan: Arc<Lan>,
    pub(crate) options: Options,
    dir: TempDir,
    running: BTreeMap<u64, Arc<RaftLog>>,
}

pub(crate) fn member(raft_id: u64) -> Member {
    Member {
        raft_id,
        node_id: NodeId::from_random(u128::from(raft_id)),
        addr: format!("manager-{raft_id}:2377"),
    }
}

/// A batch that makes one config with this name.
pub(crate) fn batch(name: &str) -> Batch {
    let number = name.bytes().fold(17_u128, |sum, byte| sum.wrapping_mul(257).wrapping_add(u128::from(byte)));
    let config = Config {
        id: ConfigId::from_random(number),
        meta: Meta::default(),
        spec: DataSpec { name: name.to_owned(), ..DataSpec::default() },
    };
    Batch { now: Timestamp(1), changes: vec![Change::Create(Object::Config(Arc::new(config)))] }
}

pub(crate) fn names(log: &RaftLog) -> BTreeSet<String> {
    log.state().configs().values().map(|config| config.spec.name.clone()).collect()
}

impl Group {
    pub(crate) fn new() -> Self {
        Self {
            lan: Arc::default(),
            options: options(),
            dir: tempfile::Builder::new().prefix("shoal-test-raft-").tempdir().unwrap(),
            running: BTreeMap::new(),
        }
    }

    /// Managers 1 to `n`; 1 is the first leader.
    pub(crate) async fn of(n: u64) -> Self {
        Self::with(n, options()).await
    }

    pub(crate) async fn with(n: u64, options: Options) -> Self {
        let mut group = Self { options, ..Self::new() };
        group.create(1).await;
        for id in 2..=n {
            group.join(id).await;
        }
        group
    }

    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    pub(crate) fn transport(&self, id: u64) -> Arc<dyn Transport> {
        Arc::new(Port { lan: Arc::clone(&self.lan), from: id })
    }

    pub(crate) fn run(&mut self, id: u64, log: RaftLog) -> Arc<RaftLog> {
        let log = Arc::new(log);
        self.lan.logs.lock().unwrap().insert(id, Arc::downgrade(&log));
        self.running.insert(id, Arc::clone(&log));
        log
    }

    pub(crate) async fn create(&mut self, id: u64) -> Arc<RaftLog> {
        let first = Entry { batches: vec![batch("first")] };
        let (path, options) = (self.path(id), self.options.clone());
        let log = RaftLog::create(&path, member(id), self.transport(id), options, first).await.unwrap();
        self.run(id, log)
    }

    /// Starts a new manager and lets it in.
    pub(crate) async fn join(&mut self, id: u64) -> Arc<RaftLog> {
        let (path, options) = (self.path(id), self.options.clone());
        let log = RaftLog::join(&path, member(id), self.transport(id), options).await.unwrap();
        let log = self.run(id, log);
        self.leader().await.add_voter(member(id)).await.unwrap();
        log
    }

    pub(crate) async fn start(&mut self, id: u64) -> Arc<RaftLog> {
        let log = RaftLog::open(&self.path(id), self.transport(id), self.options.clone()).await.unwrap();
        self.run(id, log)
    }

    pub(crate) async fn stop(&mut self, id: u64) {
        self.lan.logs.lock().unwrap().remove(&id);
        let log = self.running.remove(&id).unwrap();
        log.shutdown().await;
    }

    pub(crate) fn log(&self, id: u64) -> Arc<RaftLog> {
        Arc::clone(&self.running[&id])
    }

    pub(crate) fn logs(&self) -> Vec<Arc<RaftLog>> {
        self.running.values().cloned().collect()
    }

    /// The one that leads, once there is one.
    pub(crate) async fn leader(&self) -> Arc<RaftLog> {
        self.leader_among(&self.running.keys().copied().collect::<Vec<_>>()).await
    }

    pub(crate) async fn leader_among(&self, ids: &[u64]) -> Arc<RaftLog> {
        let leading = || ids.iter().map(|id| self.log(*id)).find(|log| log.leadership().borrow().is_leader);
        eventually("a leader", || async { leading() }).await
    }

    /// Until every running manager has these names.
    pub(crate) async fn all_have(&self, wanted: &BTreeSet<String>) {
        for log in self.logs() {
            eventually("everything on every manager", || async {
                wanted.is_subset(&names(&log)).then_some(())
            })
            .await;
        }
    }

    /// Until all are at the same entry; then the states must be the same to the last bit.
    pub(crate) async fn same_digests(&self) -> u64 {
        eventually("managers at the same entry", || async {
            let at: BTreeSet<u64> = self.logs().iter().map(|log| *log.applied().borrow()).collect();
            (at.len() == 1).then_some(())
        })
        .await;
        let digests: BTreeSet<u64> = self.logs().iter().map(|log| log.state().digest()).collect();
        assert_eq!(digests.len(), 1, "the managers' states differ");
        digests.into_iter().next().unwrap()
    }
}

/// Polls until there is something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes by whoever leads, as clients do: to the leader that is known, again after an election.
pub(crate) async fn write(group: &Group, ids: &[u64], name: &str) -> u64 {
    eventually("a write to succeed", || async {
        match group.leader_among(ids).await.propose(batch(name)).await {
            Ok(index) => Some(index),
            // Written by an attempt whose answer was lost.
            Err(ProposeError::Rejected(_)) => Some(0),
            Err(_) => None,
        }
    })
    .await
}
