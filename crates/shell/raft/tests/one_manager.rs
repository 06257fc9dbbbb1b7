//! A manager alone: what it acknowledged is there after a restart, and nobody else gets at its files.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use shoal_raft::{Leadership, Log, OpenError, Options, ProposeError, RaftLog};
use shoal_store::{Change, Entry, Object, Rejected};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Group, batch, eventually, member, names};

#[tokio::test(flavor = "multi_thread")]
async fn it_leads_at_once_and_holds_its_first_entry() {
    let mut group = Group::new();
    let log = group.create(1).await;
    assert!(log.leadership().borrow().is_leader);
    assert_eq!(names(&log), BTreeSet::from(["first".to_owned()]));
    let leadership: Leadership = log.leadership().borrow().clone();
    assert_eq!(leadership.leader.unwrap().addr, member(1).addr);
    assert_eq!(leadership.members.len(), 1);
    assert!(leadership.members[0].voter && leadership.members[0].leader && leadership.members[0].reachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_outlive_a_restart() {
    let mut group = Group::new();
    let log = group.create(1).await;
    let mut last = 0;
    for n in 0..20 {
        let index = log.propose(batch(&format!("c{n}"))).await.unwrap();
        assert!(index > last, "indexes grow");
        last = index;
        assert_eq!(*log.applied().borrow(), index);
    }
    let digest = log.state().digest();
    drop(log);
    group.stop(1).await;

    let begun = Instant::now();
    let log = group.start(1).await;
    group.leader().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "an election timeout was waited for: {took:?}");
    eventually("the state as it was", || async { (log.state().digest() == digest).then_some(()) }).await;
    log.read_barrier().await.unwrap();
    assert!(log.propose(batch("after")).await.unwrap() > last);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_state_refuses_is_told_and_leaves_no_trace() {
    let mut group = Group::new();
    let log = group.create(1).await;
    log.propose(batch("x")).await.unwrap();
    let digest = log.state().digest();
    let refused = log.propose(batch("x")).await;
    assert!(matches!(refused, Err(ProposeError::Rejected(Rejected::Exists { .. }))), "{refused:?}");
    let index = log.state().index();
    let mut without = (*log.state()).clone();
    shoal_store::apply(&mut without, index, &Entry::default());
    assert_eq!(log.state().configs(), without.configs());
    assert_ne!(digest, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_at_the_same_time_share_entries() {
    let mut group = Group::new();
    let log = group.create(1).await;
    let before = *log.applied().borrow();
    let writes = (0..200).map(|n| {
        let log = Arc::clone(&log);
        tokio::spawn(async move { log.propose(batch(&format!("c{n}"))).await })
    });
    let writes: Vec<_> = writes.collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let entries = *log.applied().borrow() - before;
    assert!(entries < 100, "200 writes took {entries} entries");
    assert_eq!(names(&log).len(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_the_log_behind_it_give_the_state_back() {
    let mut group = Group::new();
    group.options = Options { snapshot_interval: 50, entries_kept: 5, ..support::options() };
    let log = group.create(1).await;
    for n in 0..230 {
        log.propose(batch(&format!("c{n}"))).await.unwrap();
    }
    eventually("a snapshot", || async { group.path(1).join("snapshot").exists().then_some(()) }).await;
    let digest = log.state().digest();
    drop(log);
    group.stop(1).await;
    let log = group.start(1).await;
    eventually("the state as it was", || async { (log.state().digest() == digest).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_is_told_that_the_directory_is_in_use() {
    let mut group = Group::new();
    let _log = group.create(1).await;
    let again = RaftLog::open(&group.path(1), group.transport(1), support::options()).await;
    let error = again.err().expect("it is in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_log_is_neither_made_anew_nor_invented() {
    let mut group = Group::new();
    group.create(1).await;
    group.stop(1).await;
    let first = Entry { batches: vec![batch("first")] };
    let (path, transport) = (group.path(1), group.transport(1));
    let again = RaftLog::create(&path, member(1), transport, support::options(), first).await;
    assert!(matches!(again.err(), Some(OpenError::Exists { .. })));
    let nothing = RaftLog::open(&group.path(9), group.transport(9), support::options()).await;
    assert!(matches!(nothing.err(), Some(OpenError::Missing { .. })));
    assert!(RaftLog::exists(&group.path(1)) && !RaftLog::exists(&group.path(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_not_finished_is_thrown_away() {
    let mut group = Group::new();
    // The first entry refuses itself, so the swarm is never finished.
    let twice = Entry { batches: vec![batch("x"), batch("x")] };
    let (path, transport) = (group.path(1), group.transport(1));
    let failed = RaftLog::create(&path, member(1), transport, support::options(), twice).await;
    assert!(matches!(failed.err(), Some(OpenError::First(_))));
    let opened = RaftLog::open(&group.path(1), group.transport(1), support::options()).await;
    assert!(matches!(opened.err(), Some(OpenError::Missing { .. })));
    let log = group.create(1).await;
    assert_eq!(names(&log), BTreeSet::from(["first".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_shutdown_nothing_is_written() {
    let mut group = Group::new();
    let log = group.create(1).await;
    group.stop(1).await;
    assert_eq!(log.propose(batch("late")).await, Err(ProposeError::ShuttingDown));
    assert!(!log.leadership().borrow().is_leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_told_of_or_harmless() {
    let mut group = Group::new();
    let log = group.create(1).await;
    for n in 0..50 {
        log.propose(batch(&format!("c{n}"))).await.unwrap();
    }
    let digest = log.state().digest();
    drop(log);
    group.stop(1).await;
    let file = group.path(1).join("log.redb");
    let good = std::fs::read(&file).unwrap();
    let (mut told, step) = (0, good.len() / 40);
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        for byte in &mut bad[at..(at + 64).min(good.len())] {
            *byte ^= 0x55;
        }
        std::fs::write(&file, bad).unwrap();
        match RaftLog::open(&group.path(1), group.transport(1), support::options()).await {
            Err(OpenError::Damaged { .. } | OpenError::Storage { .. } | OpenError::Missing { .. }) => {
                told += 1;
            }
            Err(other) => panic!("{other:?}"),
            Ok(log) => {
                eventually("the state as it was", || async {
                    (log.state().digest() == digest).then_some(())
                })
                .await;
                log.shutdown().await;
            }
        }
    }
    assert!(told > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_large_is_refused_and_large_ones_do_not_share_an_entry() {
    let mut group = Group::new();
    let log = group.create(1).await;
    let large = |name: &str, bytes: usize| {
        let mut batch = batch(name);
        let Change::Create(Object::Config(config)) = &mut batch.changes[0] else { panic!("not a config") };
        Arc::make_mut(config).spec.data = vec![200; bytes];
        batch
    };
    let refused = log.propose(large("huge", 20 * 1024 * 1024)).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
    let before = *log.applied().borrow();
    let writes: Vec<_> = (0..6)
        .map(|n| {
            let (log, batch) = (Arc::clone(&log), large(&format!("c{n}"), 1024 * 1024));
            tokio::spawn(async move { log.propose(batch).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(*log.applied().borrow() - before, 6);
}

/// A file system of its own, so small that it fills up.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("shoal-test-raft-full-").tempdir().unwrap();
        let disk = Self(dir);
        disk.mount("size=4m", MsFlags::empty());
        disk
    }

    fn mount(&self, options: &str, flags: MsFlags) {
        mount(Some("shoal-test"), self.0.path(), Some("tmpfs"), flags, Some(options)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_manager_and_costs_nothing_that_was_acknowledged() {
    let disk = SmallDisk::new();
    let group = Group::new();
    let dir = disk.0.path().join("raft");
    let first = Entry { batches: vec![batch("first")] };
    let log = RaftLog::create(&dir, member(1), group.transport(1), support::options(), first).await.unwrap();
    let mut acknowledged = BTreeSet::new();
    let error = loop {
        let name = format!("c{}", acknowledged.len());
        let mut batch = batch(&name);
        let Change::Create(Object::Config(config)) = &mut batch.changes[0] else { panic!("not a config") };
        Arc::make_mut(config).spec.data = vec![200; 50_000];
        match log.propose(batch).await {
            Ok(_) => assert!(acknowledged.insert(name)),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ProposeError::Storage(_)), "{error:?}");
    eventually("it to stop leading", || async { (!log.leadership().borrow().is_leader).then_some(()) }).await;
    assert!(matches!(log.propose(batch("late")).await, Err(ProposeError::Storage(_))));
    assert!(log.state().configs().len() > acknowledged.len(), "reads go on");
    log.shutdown().await;

    disk.mount("size=64m", MsFlags::MS_REMOUNT);
    let log = RaftLog::open(&dir, group.transport(1), support::options()).await.unwrap();
    eventually("all that was acknowledged", || async { acknowledged.is_subset(&names(&log)).then_some(()) })
        .await;
    log.propose(batch("again")).await.unwrap();
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_told_of() {
    let mut group = Group::new();
    group.options = Options { snapshot_interval: 10, ..support::options() };
    let log = group.create(1).await;
    for n in 0..30 {
        log.propose(batch(&format!("c{n}"))).await.unwrap();
    }
    eventually("a snapshot", || async { group.path(1).join("snapshot").exists().then_some(()) }).await;
    drop(log);
    group.stop(1).await;
    let snapshot = group.path(1).join("snapshot");
    let mut bytes = std::fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    let opened = RaftLog::open(&group.path(1), group.transport(1), support::options()).await;
    assert!(matches!(opened.err(), Some(OpenError::Damaged { .. })));
}
