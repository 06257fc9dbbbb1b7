//! The state in memory, moved forward by committed entries and shown to everyone; on disk it exists as a snapshot with
//! the log behind it.

use crate::OpenError;
use crate::snapshot_file::SnapshotFile;
use crate::types::{Bound, LogId, Outcome, Place, RaftEntry, SnapshotMeta, StorageError, StoredMembership};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use shoal_store::{State, apply};
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// What everyone may look at.
#[derive(Clone)]
pub(crate) struct Published {
    state: Arc<RwLock<Arc<State>>>,
    applied: Arc<watch::Sender<u64>>,
}

impl Published {
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    fn show(&self, state: &State, applied: Option<LogId>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state.clone());
        self.applied.send_replace(applied.map_or(0, |id| id.index));
    }
}

/// The state and how far it has come.
#[derive(Clone)]
pub(crate) struct Position {
    pub(crate) state: State,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// The state machine of the consensus library.
pub(crate) struct StateMachine {
    position: Position,
    published: Published,
    file: SnapshotFile,
}

impl StateMachine {
    /// Starts from the snapshot in `dir`, or from nothing.
    pub(crate) fn open(dir: &Path, file: SnapshotFile) -> Result<Self, OpenError> {
        let position =
            Position::load(&file).map_err(|what| OpenError::Damaged { dir: dir.to_owned(), what })?;
        let published = Published {
            state: Arc::new(RwLock::new(Arc::default())),
            applied: Arc::new(watch::Sender::new(0)),
        };
        published.show(&position.state, position.applied);
        Ok(Self { position, published, file })
    }

    pub(crate) fn published(&self) -> Published {
        self.published.clone()
    }
}

impl Position {
    /// What the snapshot holds, or the beginning.
    pub(crate) fn load(file: &SnapshotFile) -> Result<Self, String> {
        let Some(stored) = file.read().map_err(|e| e.to_string())? else {
            return Ok(Self {
                state: State::default(),
                applied: None,
                membership: StoredMembership::default(),
            });
        };
        Self::of_snapshot(&stored.meta, &stored.data)
    }

    fn of_snapshot(meta: &SnapshotMeta, data: &[u8]) -> Result<Self, String> {
        let state = State::restore(data).map_err(|e| match std::error::Error::source(&e) {
            Some(source) => format!("{e}: {source}"),
            None => e.to_string(),
        })?;
        Ok(Self { state, applied: meta.last_log_id, membership: meta.last_membership.clone() })
    }

    /// Moves one entry forward.
    pub(crate) fn step(&mut self, entry: &RaftEntry) -> Outcome {
        self.applied = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Normal(batches) => apply(&mut self.state, entry.log_id.index, batches),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Vec::new()
            }
        }
    }

    /// Writes a snapshot of this position.
    pub(crate) fn save(&self, file: &SnapshotFile) -> std::io::Result<(SnapshotMeta, Vec<u8>)> {
        let position = self.applied.map_or_else(|| "empty".to_owned(), |id| id.to_string());
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: position,
        };
        let data = self.state.snapshot();
        file.write(&meta, &data)?;
        Ok((meta, data))
    }
}

fn writing(error: impl std::fmt::Display) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::error(error)).into()
}

fn reading(error: impl std::fmt::Display) -> StorageError {
    StorageIOError::read_snapshot(None, AnyError::error(error)).into()
}

impl RaftStateMachine<Bound> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.position.applied, self.position.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let outcomes = entries.into_iter().map(|entry| self.position.step(&entry)).collect();
        self.published.show(&self.position.state, self.position.applied);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { position: self.position.clone(), file: self.file.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &openraft::SnapshotMeta<u64, Place>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let (meta, file, data) = (meta.clone(), self.file.clone(), snapshot.into_inner());
        let installed = tokio::task::spawn_blocking(move || {
            let position = Position::of_snapshot(&meta, &data)?;
            file.write(&meta, &data).map_err(|e| e.to_string())?;
            Ok::<_, String>(position)
        });
        self.position = installed.await.map_err(writing)?.map_err(writing)?;
        self.published.show(&self.position.state, self.position.applied);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Bound>>, StorageError> {
        let file = self.file.clone();
        let stored = tokio::task::spawn_blocking(move || file.read()).await.map_err(reading)?;
        let stored = stored.map_err(reading)?;
        Ok(stored.map(|s| Snapshot { meta: s.meta, snapshot: Box::new(Cursor::new(s.data)) }))
    }
}

/// Writes a snapshot of the state as it was when this was made, while entries go on being applied.
pub(crate) struct SnapshotBuilder {
    position: Position,
    file: SnapshotFile,
}

impl RaftSnapshotBuilder<Bound> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Bound>, StorageError> {
        let (position, file) = (self.position.clone(), self.file.clone());
        let saved = tokio::task::spawn_blocking(move || position.save(&file)).await.map_err(writing)?;
        let (meta, data) = saved.map_err(writing)?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}
