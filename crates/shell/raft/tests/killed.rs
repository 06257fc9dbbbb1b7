//! A manager killed in the middle of writing: what it said was written is there afterwards.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use shoal_raft::{Log, RaftLog};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{Group, batch, eventually, member, names};

const DIR: &str = "SHOAL_TEST_RAFT_DIR";

/// Runs in a process of its own: goes on writing, and says what was acknowledged, until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the other test"]
async fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let options = shoal_raft::Options { snapshot_interval: 40, entries_kept: 3, ..support::options() };
    let transport = Group::new().transport(1);
    let log = if RaftLog::exists(dir) {
        RaftLog::open(dir, transport, options).await.unwrap()
    } else {
        let first = shoal_store::Entry { batches: vec![batch("first")] };
        RaftLog::create(dir, member(1), transport, options, first).await.unwrap()
    };
    let run = std::process::id();
    for n in 0.. {
        let name = format!("c{run}-{n}");
        log.propose(batch(&name)).await.unwrap();
        println!("wrote {name}");
    }
}

/// The other process. Killed when dropped, if it was not yet.
struct Writer(Child);

impl Writer {
    fn start(dir: &Path) -> Self {
        let writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(writer.unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_being_killed() {
    let group = Group::new();
    let dir = group.path(1);
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let mut child = Writer::start(&dir);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut left = 30 + 17 * round;
        while left > 0 {
            let line = lines.next().expect("the writer ended by itself");
            // The test runner may have put its own words before the first.
            if let Some((_, name)) = line.split_once("wrote ") {
                acknowledged.push(name.to_owned());
                left -= 1;
            }
        }
        child.0.kill().unwrap();
        acknowledged
            .extend(lines.filter_map(|line| line.split_once("wrote ").map(|(_, name)| name.to_owned())));
        drop(child);
    }
    let log = RaftLog::open(&dir, group.transport(1), support::options()).await.unwrap();
    eventually("all that was acknowledged", || async {
        let held = names(&log);
        acknowledged.iter().all(|name| held.contains(name)).then_some(())
    })
    .await;
}
