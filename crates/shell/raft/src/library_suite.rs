//! The consensus library's own tests of a storage, run over ours.

use crate::log_store::LogStore;
use crate::snapshot_file::SnapshotFile;
use crate::state_machine::StateMachine;
use crate::types::{Bound, LogId, SnapshotMeta, StorageError};
use openraft::CommittedLeaderId;
use openraft::testing::{StoreBuilder, Suite};
use std::fs;
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Bound, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (log_dir, state_dir) = (dir.path().join("log"), dir.path().join("state"));
        fs::create_dir_all(&state_dir).unwrap();
        // The library purges entries without ever having made a snapshot of them, which is not allowed otherwise.
        let everything = SnapshotFile::new(dir.path());
        let last_log_id = Some(LogId::new(CommittedLeaderId::new(u64::MAX, 0), u64::MAX));
        everything.write(&SnapshotMeta { last_log_id, ..SnapshotMeta::default() }, b"").unwrap();
        let store = LogStore::open(&log_dir, everything).unwrap();
        let machine = StateMachine::open(&state_dir, SnapshotFile::new(&state_dir)).unwrap();
        Ok((dir, store, machine))
    }
}

#[test]
fn the_library_accepts_our_storage() {
    Suite::test_all(Builder).unwrap();
}
