//! All that runs while this node is in a swarm: its session and loop, and on managers the log, the port and the leader's
//! loop. Ended together.

use crate::counting;
use crate::disk;
use crate::dispatcher::Dispatcher;
use crate::engine::Engine;
use crate::leader;
use crate::manager::Manager;
use crate::membership::is_manager;
use crate::node_loop::{self, Connections};
use crate::node_streams::NodeStreams;
use crate::own_node::OwnNode;
use crate::sentinel;
use crate::supervise::Supervisor;
use crate::transport::PeerTransport;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use shoal_model::Assignment;
use shoal_peer::{
    Connector, Credentials, Identity, IdentityFiles, ManagerJoin, NodeSession, PeerClient, Progress,
    SessionState, keep_certificate_fresh, run_session,
};
use shoal_raft::{Member as RaftMember, Options, RaftLog};
use shoal_store::Entry;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

/// What runs for the swarm gets this long to end.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// What the disk remembers of this node's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: SocketAddr,
    pub(crate) data_path: Option<IpAddr>,
    /// Addresses of the managers.
    pub(crate) managers: Vec<String>,
    /// On managers, the number in the consensus group.
    pub(crate) raft_id: Option<u64>,
}

/// A running part.
pub(crate) struct Member {
    pub(crate) identity: node_loop::Identity,
    pub(crate) managers: watch::Sender<Vec<String>>,
    /// On managers.
    pub(crate) dispatcher: Option<Arc<Dispatcher>>,
    /// The node itself, to be asked.
    pub(crate) own: OwnNode,
    group: Supervisor,
}

impl Member {
    /// Ends everything in order.
    pub(crate) async fn end(&self) {
        self.group.shutdown().cancel();
        self.group.wait(END_DEADLINE).await;
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.manager.log.shutdown().await;
        }
    }
}

/// Begins. `first` founds a new swarm.
pub(crate) async fn start(
    engine: &Arc<Engine>,
    directory: PathBuf,
    files: IdentityFiles,
    saved: Saved,
    identity: Identity,
    first: Option<Entry>,
) -> anyhow::Result<Arc<Member>> {
    let group = engine.supervisor.group();
    let manages = is_manager(&identity);
    let who = node_loop::Identity {
        node: identity.peer().node.clone(),
        address: saved.advertise.ip(),
        data_path: saved.data_path.unwrap_or(saved.advertise.ip()),
    };
    let connector = Connector::new(Credentials::new(identity)?);
    let parts = Parts { engine, directory: &directory, group: &group, connector: &connector, who: &who };
    let mut dispatcher = None;
    if manages {
        match Box::pin(parts.manage(&saved, first)).await {
            Ok(managing) => dispatcher = Some(managing),
            Err(error) => {
                // What has begun already must not go on by itself.
                group.shutdown().cancel();
                group.wait(END_DEADLINE).await;
                return Err(error);
            }
        }
    }
    let (managers, own) = parts.run_node(saved, files, dispatcher.clone());
    Ok(Arc::new(Member { identity: who, managers, dispatcher, own, group }))
}

struct Parts<'a> {
    engine: &'a Arc<Engine>,
    directory: &'a Path,
    group: &'a Supervisor,
    connector: &'a Connector,
    who: &'a node_loop::Identity,
}

impl Parts<'_> {
    /// Opens the log, the managers' port and the leader's loop.
    async fn manage(&self, saved: &Saved, first: Option<Entry>) -> anyhow::Result<Arc<Dispatcher>> {
        let listener = TcpListener::bind(saved.listen).await;
        let listener = listener.with_context(|| {
            format!("failed to listen on remote API address: listen tcp {}", saved.listen)
        })?;
        let raft = Arc::new(Box::pin(self.open_log(saved, first)).await?);
        let manager = Arc::new(Manager::new(raft, self.connector.clone()));
        let dispatcher = Arc::new(Dispatcher::new(manager.clone(), self.group.clone()));
        let shutdown = self.group.shutdown();
        let serving = shoal_peer::serve(
            listener,
            self.connector.credentials().clone(),
            dispatcher.clone(),
            shutdown.clone(),
        );
        self.group.run("managers' port", async move { Ok(serving.await?) });
        self.group.run("sentinel", sentinel::run(manager.clone(), shutdown.clone()));
        self.group.run("leader", leader::run(manager, shutdown.clone()));
        Ok(dispatcher)
    }

    async fn open_log(&self, saved: &Saved, first: Option<Entry>) -> anyhow::Result<RaftLog> {
        let directory = self.directory.join("raft");
        let transport = Arc::new(PeerTransport::new(self.connector.clone()));
        let me = |raft_id| RaftMember {
            raft_id,
            node_id: self.who.node.clone(),
            addr: saved.advertise.to_string(),
        };
        let options = Options::default();
        if let Some(first) = first {
            return Ok(Box::pin(RaftLog::create(&directory, me(1), transport, options, first)).await?);
        }
        if saved.raft_id.is_some() {
            return Ok(RaftLog::open(&directory, transport, options).await?);
        }
        // A new manager asks the leader for its number, and takes part from then on.
        let request = ManagerJoin { addr: saved.advertise.to_string(), raft_id: None };
        for manager in &saved.managers {
            match PeerClient::new(self.connector, manager)?.join_managers(request.clone()).await {
                Ok(joined) => {
                    let saved = Saved { raft_id: Some(joined.raft_id), ..saved.clone() };
                    let log = RaftLog::join(&directory, me(joined.raft_id), transport, options).await?;
                    disk::write_json(&self.directory.join("member.json"), &saved)?;
                    return Ok(log);
                }
                Err(error) => {
                    tracing::warn!(
                        manager,
                        error = node_loop::chain(&error),
                        "cannot become a manager there"
                    );
                }
            }
        }
        bail!("no manager let this node into the consensus group")
    }

    /// Starts the session and the node's loop; answers the list of managers that the session keeps up to date, and whom
    /// to ask about the node.
    fn run_node(
        &self,
        saved: Saved,
        files: IdentityFiles,
        dispatcher: Option<Arc<Dispatcher>>,
    ) -> (watch::Sender<Vec<String>>, OwnNode) {
        let shutdown = self.group.shutdown().clone();
        let remembered: Option<Assignment> = disk::read_json(&self.directory.join("assignment.json"))
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the last assignment cannot be read; the managers will tell it again");
                None
            });
        let assignments = watch::Sender::new(Arc::new(remembered.unwrap_or_default()));
        let (statuses, progress) =
            (watch::Sender::new(Arc::default()), watch::Sender::new(Progress::default()));
        let given = watch::Sender::default();
        let managers = watch::Sender::new(saved.managers.clone());
        let renew = Arc::new(Notify::new());
        let routes = self.engine.host.facts().map(|f| f.routes.into_iter().collect()).unwrap_or_default();
        let description = watch::Sender::new(self.engine.machine.describe(&self.engine.config, routes));
        let own = OwnNode {
            engine: self.engine.clone(),
            identity: self.who.clone(),
            assignment: assignments.subscribe(),
        };
        let session = NodeSession {
            connector: self.connector.clone(),
            managers: managers.clone(),
            addr: saved.advertise.ip().to_string(),
            data_path_addr: saved.data_path,
            description: description.subscribe(),
            statuses: statuses.subscribe(),
            progress: progress.subscribe(),
            connections: given.subscribe(),
            assignments: assignments.clone(),
            state: watch::Sender::new(SessionState::default()),
            renew: renew.clone(),
            streams: Arc::new(NodeStreams { own: own.clone(), dispatcher }),
        };
        let session_shutdown = shutdown.clone();
        self.group.run("session", async move {
            // The description lives as long as the session does.
            let _description = description;
            Box::pin(run_session(session, session_shutdown)).await;
            Ok(())
        });
        let fresh = keep_certificate_fresh(
            self.connector.clone(),
            managers.subscribe(),
            files,
            renew,
            shutdown.clone(),
        );
        self.group.run("certificate", async move {
            fresh.await;
            Ok(())
        });
        let remembering = remember(
            self.directory.to_owned(),
            saved,
            assignments.subscribe(),
            managers.subscribe(),
            shutdown.clone(),
        );
        self.group.run("memory", remembering);
        self.group.run("connections", counting::run(self.engine.clone(), given, shutdown.clone()));
        let connections = Connections {
            identity: self.who.clone(),
            assignment: assignments.subscribe(),
            statuses,
            progress,
            shutdown,
        };
        self.group.run("node", node_loop::run(self.engine.clone(), connections));
        (managers, own)
    }
}

/// Keeps the assignment and the managers' addresses on disk, so that a restarted daemon goes on before a manager has
/// spoken. Secrets and configs are left out: they are in memory only.
async fn remember(
    directory: PathBuf,
    mut saved: Saved,
    mut assignment: watch::Receiver<Arc<Assignment>>,
    mut managers: watch::Receiver<Vec<String>>,
    shutdown: tokio_util::sync::CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = assignment.changed() => {
                if changed.is_err() { return ended(&shutdown).await }
                let mut kept = Assignment::clone(&assignment.borrow_and_update());
                kept.secrets.clear();
                kept.configs.clear();
                let path = directory.join("assignment.json");
                write(move || disk::write_json(&path, &kept)).await;
            }
            changed = managers.changed() => {
                if changed.is_err() { return ended(&shutdown).await }
                // What the log's opening wrote meanwhile stays.
                let path = directory.join("member.json");
                if let Ok(Some(current)) = disk::read_json::<Saved>(&path) {
                    saved = current;
                }
                saved.managers.clone_from(&managers.borrow_and_update());
                let saved = saved.clone();
                write(move || disk::write_json(&path, &saved)).await;
            }
        }
    }
}

/// The session has ended, as everything does at the end.
async fn ended(shutdown: &tokio_util::sync::CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}

async fn write(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot be remembered"),
        Err(error) => tracing::warn!(%error, "cannot be remembered"),
    }
}

/// The address from which this host reaches the first of the managers that it has a route to.
pub(crate) fn route_to(managers: &[String]) -> anyhow::Result<IpAddr> {
    for manager in managers {
        // Connecting a datagram socket sends nothing: it only asks the kernel for the route.
        let socket = UdpSocket::bind("0.0.0.0:0").context("asking for a route")?;
        if socket.connect(manager.as_str()).is_ok() {
            return Ok(socket.local_addr().context("asking for a route")?.ip());
        }
    }
    bail!("this host has no route to {}", managers.join(", "))
}
