//! Log entries and votes on disk, in one redb file, with a copy of all entries in memory: they are read far more often
//! than the disk should be.

use crate::snapshot_file::SnapshotFile;
use crate::types::{Bound, LogId, RaftEntry, StorageError, Vote};
use crate::{Member, OpenError};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogId, RaftLogReader, StorageIOError};
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableHandle,
    WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries by index, as JSON: the model's types skip absent fields, which only self-describing forms can read back.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Everything else, as JSON.
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");

const VOTE: &str = "vote";
const PURGED: &str = "purged";
const COMMITTED: &str = "committed";
const MEMBER: &str = "member";
/// Set once the directory holds a log that may be opened again.
const READY: &str = "ready";

/// The file is small; redb's default would let its cache grow to 1 GiB.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// What one append message holds at most, unless a single entry is larger.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Log entries and votes. Clones share them.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// None once closed.
    database: Mutex<Option<Database>>,
    memory: Mutex<Memory>,
    snapshot: SnapshotFile,
}

#[derive(Default)]
struct Memory {
    entries: BTreeMap<u64, Cached>,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
}

struct Cached {
    entry: RaftEntry,
    size_bytes: usize,
}

impl LogStore {
    /// Opens the file in `dir`, or makes it. Entries are forgotten only when `snapshot` holds them.
    pub(crate) fn open(dir: &Path, snapshot: SnapshotFile) -> Result<Self, OpenError> {
        let storage = |what: String| OpenError::Storage { dir: dir.to_owned(), what };
        std::fs::create_dir_all(dir).map_err(|e| storage(e.to_string()))?;
        let opened = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(dir.join("log.redb"));
        let database = match opened {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::InUse { dir: dir.to_owned() }),
            Err(DatabaseError::Storage(redb::StorageError::Corrupted(what))) => {
                return Err(OpenError::Damaged { dir: dir.to_owned(), what });
            }
            Err(error) => return Err(storage(error.to_string())),
        };
        let memory = load(&database)
            .map_err(|e| OpenError::Damaged { dir: dir.to_owned(), what: format!("log: {e}") })?;
        let shared = Shared { database: Mutex::new(Some(database)), memory: Mutex::new(memory), snapshot };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whose log this is; none while it is being made.
    pub(crate) fn member(&self) -> Result<Option<Member>, Failure> {
        let database = lock(&self.shared.database);
        let database = database.as_ref().ok_or("the log is closed")?;
        match fact::<bool>(database, READY)? {
            Some(true) => fact(database, MEMBER),
            _ => Ok(None),
        }
    }

    /// Notes whose log this is, and that it may be opened again.
    pub(crate) fn set_member(&self, member: &Member) -> Result<(), Failure> {
        self.write_blocking(|transaction| {
            put(transaction, MEMBER, member)?;
            put(transaction, READY, &true)
        })
    }

    /// Whether anything was ever written.
    pub(crate) fn is_empty(&self) -> bool {
        let memory = lock(&self.shared.memory);
        memory.entries.is_empty() && memory.vote.is_none() && memory.purged.is_none()
    }

    /// Forgets everything: an unfinished log is made anew.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        self.write_blocking(|transaction| {
            transaction.delete_table(ENTRIES)?;
            transaction.delete_table(FACTS)?;
            Ok(())
        })?;
        *lock(&self.shared.memory) = Memory::default();
        Ok(())
    }

    /// Every entry behind `after`, in order.
    pub(crate) fn entries_after(&self, after: Option<LogId>) -> Vec<RaftEntry> {
        let from = after.map_or(0, |id| id.index + 1);
        lock(&self.shared.memory).entries.range(from..).map(|(_, cached)| cached.entry.clone()).collect()
    }

    /// Forgets entries up to `upto`, which a snapshot holds.
    pub(crate) fn purge_blocking(&self, upto: LogId) -> Result<(), Failure> {
        self.write_blocking(|transaction| {
            transaction.open_table(ENTRIES)?.retain_in(..=upto.index, |_, _| false)?;
            put(transaction, PURGED, &upto)
        })?;
        let mut memory = lock(&self.shared.memory);
        memory.entries = memory.entries.split_off(&(upto.index + 1));
        memory.purged = Some(upto);
        Ok(())
    }

    /// Closes the file. Everything fails afterwards.
    pub(crate) fn close(&self) {
        // Written so far or not needed: what was committed is learnt again from the others.
        let _ = self.write_blocking(|_| Ok(()));
        drop(lock(&self.shared.database).take());
    }

    /// Makes changes durable together with the last known committed position, which is not worth a flush of its own.
    fn write_blocking(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let committed = lock(&self.shared.memory).committed;
        let database = lock(&self.shared.database);
        let database = database.as_ref().ok_or("the log is closed")?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        work(&transaction)?;
        if let Some(committed) = committed {
            put(&transaction, COMMITTED, &committed)?;
        }
        Ok(transaction.commit()?)
    }

    /// The same on a thread that may wait for the disk.
    async fn write(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.write_blocking(work)).await?
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.shared.memory)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put<T: Serialize>(transaction: &WriteTransaction, key: &str, value: &T) -> Result<(), Failure> {
    transaction.open_table(FACTS)?.insert(key, serde_json::to_vec(value)?.as_slice())?;
    Ok(())
}

fn fact<T: DeserializeOwned>(database: &Database, key: &str) -> Result<Option<T>, Failure> {
    let transaction = database.begin_read()?;
    if !transaction.list_tables()?.any(|table| table.name() == FACTS.name()) {
        return Ok(None);
    }
    match transaction.open_table(FACTS)?.get(key)? {
        Some(value) => Ok(Some(serde_json::from_slice(value.value())?)),
        None => Ok(None),
    }
}

fn load(database: &Database) -> Result<Memory, Failure> {
    let mut memory = Memory {
        entries: BTreeMap::new(),
        vote: fact(database, VOTE)?,
        purged: fact(database, PURGED)?,
        committed: fact(database, COMMITTED)?,
    };
    let transaction = database.begin_read()?;
    if !transaction.list_tables()?.any(|table| table.name() == ENTRIES.name()) {
        return Ok(memory);
    }
    let mut expected = memory.purged.map(|id| id.index + 1);
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (index, bytes) = row?;
        let (index, bytes) = (index.value(), bytes.value());
        if expected.is_some_and(|expected| expected != index) {
            return Err(format!("entry {} is missing", expected.unwrap_or_default()).into());
        }
        let entry: RaftEntry = serde_json::from_slice(bytes)?;
        memory.entries.insert(index, Cached { entry, size_bytes: bytes.len() });
        expected = Some(index + 1);
    }
    Ok(memory)
}

fn reading(error: Failure) -> StorageError {
    StorageIOError::read_logs(AnyError::error(error)).into()
}

fn writing(error: Failure) -> StorageError {
    StorageIOError::write_logs(AnyError::error(error)).into()
}

impl RaftLogReader<Bound> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        Ok(self.memory().entries.range(range).map(|(_, cached)| cached.entry.clone()).collect())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let memory = self.memory();
        let mut left = MESSAGE_BYTES;
        let fitting = memory.entries.range(start..end).enumerate().take_while(|(n, (_, cached))| {
            let fits = *n == 0 || cached.size_bytes <= left;
            left = left.saturating_sub(cached.size_bytes);
            fits
        });
        Ok(fitting.map(|(_, (_, cached))| cached.entry.clone()).collect())
    }
}

impl RaftLogStorage<Bound> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Bound>, StorageError> {
        let memory = self.memory();
        let last = memory.entries.values().next_back().map(|cached| *cached.entry.get_log_id());
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: last.or(memory.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        let written = self.write(move |transaction| put(transaction, VOTE, &vote)).await;
        written.map_err(|e| StorageIOError::write_vote(AnyError::error(e)))?;
        self.memory().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.memory().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.memory().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.memory().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Bound>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut rows = Vec::new();
        let mut cached = Vec::new();
        for entry in entries {
            let bytes = serde_json::to_vec(&entry).map_err(|e| reading(e.into()))?;
            let index = entry.get_log_id().index;
            cached.push((index, Cached { entry, size_bytes: bytes.len() }));
            rows.push((index, bytes));
        }
        let written = self
            .write(move |transaction| {
                let mut table = transaction.open_table(ENTRIES)?;
                for (index, bytes) in &rows {
                    table.insert(index, bytes.as_slice())?;
                }
                Ok(())
            })
            .await;
        if written.is_ok() {
            self.memory().entries.extend(cached);
        }
        callback.log_io_completed(written.map_err(io::Error::other));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let removed = self.write(move |transaction| {
            transaction.open_table(ENTRIES)?.retain_in(log_id.index.., |_, _| false)?;
            Ok(())
        });
        removed.await.map_err(writing)?;
        self.memory().entries.split_off(&log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        // When a snapshot came from the leader, the library does not wait for it to be on disk. A crash in between would
        // leave neither the entries nor the snapshot.
        if !self.shared.snapshot.until_it_reaches(log_id).await {
            return Err(writing("no snapshot holds the entries to forget".into()));
        }
        let store = self.clone();
        let purged = tokio::task::spawn_blocking(move || store.purge_blocking(log_id)).await;
        purged.map_err(|e| writing(e.into()))?.map_err(writing)
    }
}
