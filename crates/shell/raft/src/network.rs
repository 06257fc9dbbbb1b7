//! The consensus library's messages over a [`Transport`].

use crate::message::{Addressed, Message};
use crate::types::{Bound, Place};
use crate::{Member, Transport, TransportError};
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Before a manager that cannot be reached is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(300);

/// When each manager last answered.
#[derive(Clone, Default)]
pub(crate) struct LastHeard {
    at: Arc<Mutex<HashMap<u64, Instant>>>,
}

impl LastHeard {
    fn note(&self, raft_id: u64) {
        self.lock().insert(raft_id, Instant::now());
    }

    /// Whether it answered within this time.
    pub(crate) fn within(&self, raft_id: u64, time: Duration) -> bool {
        self.lock().get(&raft_id).is_some_and(|at| at.elapsed() <= time)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a [`Link`] to each manager.
pub(crate) struct Network {
    pub(crate) me: u64,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) heard: LastHeard,
}

impl RaftNetworkFactory<Bound> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, place: &Place) -> Link {
        Link {
            me: self.me,
            target,
            member: place.member(target),
            transport: Arc::clone(&self.transport),
            heard: self.heard.clone(),
        }
    }
}

/// The way to one manager.
pub(crate) struct Link {
    me: u64,
    target: u64,
    /// None if its place makes no sense; it is never reached then.
    member: Option<Member>,
    transport: Arc<dyn Transport>,
    heard: LastHeard,
}

type Failed<E> = RPCError<u64, Place, RaftError<u64, E>>;

impl Link {
    async fn ask<T, E>(&self, message: Message, kind: RPCTypes, option: &RPCOption) -> Result<T, Failed<E>>
    where
        T: DeserializeOwned,
        E: Error + DeserializeOwned,
    {
        let limit = option.hard_ttl();
        let request = Addressed { to: self.target, message }.encode().map_err(|e| NetworkError::new(&e))?;
        let Some(member) = &self.member else {
            let why = "its address makes no sense".to_owned();
            return Err(Unreachable::new(&TransportError::Unreachable { addr: String::new(), why }).into());
        };
        let answer = match tokio::time::timeout(limit, self.transport.send(member, request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error @ TransportError::Unreachable { .. })) => {
                return Err(Unreachable::new(&error).into());
            }
            Ok(Err(error @ TransportError::Broken { .. })) => return Err(NetworkError::new(&error).into()),
            Err(_) => {
                let timeout = Timeout { action: kind, id: self.me, target: self.target, timeout: limit };
                return Err(timeout.into());
            }
        };
        self.heard.note(self.target);
        let answer: Result<T, RaftError<u64, E>> =
            serde_json::from_slice(&answer).map_err(|e| NetworkError::new(&e))?;
        answer.map_err(|e| RemoteError::new(self.target, e).into())
    }
}

impl RaftNetwork<Bound> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Bound>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Place, RaftError<u64>>> {
        self.ask(Message::Append(request), RPCTypes::AppendEntries, &option).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Bound>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, Place, RaftError<u64, InstallSnapshotError>>>
    {
        self.ask(Message::Snapshot(request), RPCTypes::InstallSnapshot, &option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Place, RaftError<u64>>> {
        self.ask(Message::Vote(request), RPCTypes::Vote, &option).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}
