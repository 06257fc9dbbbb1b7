//! The last snapshot, in one file: a description, a checksum, and the state's own bytes.

use crate::types::{LogId, SnapshotMeta};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

const MAGIC: &[u8; 8] = b"SHOALSN1";
const DIGEST_BYTES: usize = 32;
/// A snapshot that is not on disk after this long never will be.
const WRITE_DEADLINE: Duration = Duration::from_mins(2);

/// Where the last snapshot is. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    dir: PathBuf,
    /// Held while one is written.
    writing: Arc<Mutex<()>>,
    /// How far the snapshot on disk reaches.
    reaches: Arc<watch::Sender<Option<LogId>>>,
}

/// A snapshot as it was read.
pub(crate) struct StoredSnapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) data: Vec<u8>,
}

impl SnapshotFile {
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), writing: Arc::default(), reaches: Arc::new(watch::Sender::new(None)) }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("snapshot")
    }

    /// Replaces the snapshot; a crash leaves either the old or the new one. One that was begun before a newer one came
    /// from the leader is not written: the log before the newer one may be gone.
    pub(crate) fn write(&self, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if meta.last_log_id < *self.reaches.borrow() {
            return Ok(());
        }
        let described = serde_json::to_vec(meta)?;
        let length = u32::try_from(described.len()).map_err(io::Error::other)?;
        let new = self.dir.join("snapshot.new");
        let mut file = File::create(&new)?;
        file.write_all(MAGIC)?;
        file.write_all(&length.to_be_bytes())?;
        file.write_all(&digest(&described, data))?;
        file.write_all(&described)?;
        file.write_all(data)?;
        file.sync_all()?;
        fs::rename(&new, self.path())?;
        File::open(&self.dir)?.sync_all()?;
        self.reaches.send_replace(meta.last_log_id);
        Ok(())
    }

    /// Waits until a snapshot on disk reaches this far: the log up to there may go then. False if none comes.
    pub(crate) async fn until_it_reaches(&self, log_id: LogId) -> bool {
        let mut reaches = self.reaches.subscribe();
        let there = reaches.wait_for(|reaches| *reaches >= Some(log_id));
        matches!(tokio::time::timeout(WRITE_DEADLINE, there).await, Ok(Ok(_)))
    }

    /// Reads the snapshot, if there is one.
    pub(crate) fn read(&self) -> io::Result<Option<StoredSnapshot>> {
        let bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "snapshot is damaged");
        let snapshot = parse(&bytes).ok_or_else(damaged)?;
        self.reaches.send_if_modified(|reaches| {
            let before = *reaches;
            *reaches = before.max(snapshot.meta.last_log_id);
            *reaches != before
        });
        Ok(Some(snapshot))
    }

    /// Removes the snapshot: an unfinished log is made anew.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.reaches.send_replace(None);
        match fs::remove_file(self.path()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn digest(described: &[u8], data: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new().chain_update(described).chain_update(data).finalize().into()
}

fn parse(bytes: &[u8]) -> Option<StoredSnapshot> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    let (described, data) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    if digest(described, data) != *expected {
        return None;
    }
    Some(StoredSnapshot { meta: serde_json::from_slice(described).ok()?, data: data.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_snapshot_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(dir.path());
        assert!(file.read().unwrap().is_none());
        file.write(&SnapshotMeta::default(), b"state").unwrap();
        assert_eq!(file.read().unwrap().unwrap().data, b"state");

        let mut bytes = fs::read(file.path()).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            fs::write(file.path(), &bytes).unwrap();
            assert!(file.read().is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        fs::write(file.path(), &bytes[..bytes.len() - 1]).unwrap();
        assert!(file.read().is_err());
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(file.read().unwrap().is_none());
    }
}
