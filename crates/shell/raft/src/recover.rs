//! A group of one out of a group that has lost its majority for good (`docker swarm init --force-new-cluster`).

use crate::raft_log::existing_store;
use crate::snapshot_file::SnapshotFile;
use crate::state_machine::Position;
use crate::types::{Place, StoredMembership};
use crate::{Member, OpenError, Options, RaftLog, Transport};
use openraft::Membership;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

impl RaftLog {
    /// Goes on alone with everything that this manager has, entries too that were never known to be committed. The
    /// other managers must never be started again with what they have. `addr` is where this one is reached from now on.
    pub async fn force_new(
        dir: &Path,
        addr: String,
        transport: Arc<dyn Transport>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let at = dir.to_owned();
        let rewritten = tokio::task::spawn_blocking(move || rewrite(&at, addr)).await;
        rewritten.map_err(|e| OpenError::Storage { dir: dir.to_owned(), what: e.to_string() })??;
        Self::open(dir, transport, options).await
    }
}

/// Turns log and snapshot into one snapshot whose only member is this manager. A crash on the way leaves something that
/// can be rewritten again.
fn rewrite(dir: &Path, addr: String) -> Result<(), OpenError> {
    let file = SnapshotFile::new(dir);
    let (store, me) = existing_store(dir, &file)?;
    let failed = |what: String| OpenError::Storage { dir: dir.to_owned(), what };
    let damaged = |what: String| OpenError::Damaged { dir: dir.to_owned(), what };
    let me = Member { addr, ..me };
    let mut position = Position::load(&file).map_err(damaged)?;
    for entry in store.entries_after(position.applied) {
        position.step(&entry);
    }
    let Some(last) = position.applied else { return Err(OpenError::Missing { dir: dir.to_owned() }) };
    let alone =
        Membership::new(vec![BTreeSet::from([me.raft_id])], BTreeMap::from([(me.raft_id, Place::of(&me))]));
    position.membership = StoredMembership::new(Some(last), alone);
    position.save(&file).map_err(|e| failed(e.to_string()))?;
    store.purge_blocking(last).map_err(|e| failed(e.to_string()))?;
    store.set_member(&me).map_err(|e| failed(e.to_string()))?;
    store.close();
    Ok(())
}
