//! This node's part in a swarm: none, worker or manager; how it comes to it and how it ends.

use crate::addresses;
use crate::backend::internal;
use crate::disk;
use crate::dispatcher::Dispatcher;
use crate::engine::Engine;
use crate::entropy;
use crate::member::{self, Member, Saved};
use crate::node_loop;
use anyhow::Context;
use shoal_control::{Founding, bootstrap};
use shoal_model::cluster::JoinTokens;
use shoal_model::node::{Node, NodeRole, NodeSpec, NodeState, NodeStatus};
use shoal_model::{ClusterId, Meta, NodeId};
use shoal_peer::{Identity, IdentityFiles, JoinIntent, JoinToken, PeerError, RootCa, join};
use shoal_store::{Batch, Entry};
use shoal_wire::ApiError;
use shoal_wire::error::Status;
use shoal_wire::requests::{SwarmInit, SwarmJoin};
use shoal_wire::system::{ManagerPeer, MemberFacts, Membership};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// UDP port of VXLAN unless another is asked for (IANA).
const VXLAN_PORT: u16 = 4789;
/// Pool and subnet size of overlay networks unless others are asked for, as Docker's.
const DEFAULT_POOL: &str = "10.0.0.0/8";
const DEFAULT_SUBNET_SIZE: u8 = 24;
/// Containers get this long to end when the node leaves its swarm.
const LEAVE_DEADLINE: Duration = Duration::from_mins(1);

/// This node's part in a swarm.
pub(crate) struct Swarm {
    engine: Arc<Engine>,
    part: Mutex<Part>,
    /// Held while the part changes, so that two commands do not do so at once.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
enum Part {
    Inactive,
    Member(Arc<Member>),
    Failed(String),
}

impl Swarm {
    /// In no swarm, until [`Swarm::resume`] says otherwise.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, part: Mutex::new(Part::Inactive), changing: tokio::sync::Mutex::default() }
    }

    fn part(&self) -> MutexGuard<'_, Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> PathBuf {
        self.engine.config.data_root.join("swarm")
    }

    fn files(&self) -> IdentityFiles {
        IdentityFiles::new(self.directory().join("certificates"))
    }

    /// Goes on with the part that the disk remembers.
    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        let saved: Option<Saved> = disk::read_json(&self.directory().join("member.json"))?;
        let identity = self.files().load().map_err(|e| anyhow::anyhow!(node_loop::chain(&e)))?;
        let (Some(saved), Some(identity)) = (saved, identity) else { return Ok(()) };
        let started =
            Box::pin(member::start(&self.engine, self.directory(), self.files(), saved, identity, None))
                .await;
        *self.part() = match started {
            Ok(member) => Part::Member(member),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the swarm cannot be taken up again");
                Part::Failed(format!("{error:#}"))
            }
        };
        Ok(())
    }

    /// As the API shows it.
    pub(crate) fn membership(&self) -> Membership {
        match &*self.part() {
            Part::Inactive => Membership::Inactive,
            Part::Failed(error) => Membership::Error(error.clone()),
            Part::Member(member) => {
                let facts = MemberFacts {
                    node: member.identity.node.clone(),
                    addr: member.identity.address.to_string(),
                    managers: managers_of(member),
                };
                match member.dispatcher {
                    Some(_) => Membership::Manager(facts),
                    None => Membership::Worker(facts),
                }
            }
        }
    }

    /// What runs for the swarm, or one of Docker's refusals.
    pub(crate) fn member(&self) -> Result<Arc<Member>, ApiError> {
        match &*self.part() {
            Part::Inactive => Err(ApiError::not_in_swarm()),
            Part::Failed(error) => Err(ApiError::unavailable(error.clone())),
            Part::Member(member) => Ok(member.clone()),
        }
    }

    /// The manager's parts, or one of Docker's refusals.
    pub(crate) fn dispatcher(&self) -> Result<Arc<Dispatcher>, ApiError> {
        self.member()?.dispatcher.clone().ok_or_else(ApiError::worker)
    }

    /// The manager, or one of Docker's refusals.
    pub(crate) fn manager(&self) -> Result<Arc<crate::manager::Manager>, ApiError> {
        Ok(self.dispatcher()?.manager.clone())
    }

    fn must_be_inactive(&self) -> Result<(), ApiError> {
        match &*self.part() {
            Part::Inactive => Ok(()),
            Part::Member(_) | Part::Failed(_) => Err(ApiError::already_in_swarm()),
        }
    }

    /// Starts a swarm with this node as its only manager.
    pub(crate) async fn init(&self, init: SwarmInit) -> Result<NodeId, ApiError> {
        let _changing = self.changing.lock().await;
        self.must_be_inactive()?;
        if init.spec.encryption_config.auto_lock_managers {
            return Err(ApiError::not_implemented("locking managers' data (autolock) is not built yet"));
        }
        let facts = self.engine.host.facts().map_err(|e| internal(node_loop::chain(&e)))?;
        let listen = addresses::listen(&init.listen_addr, &facts)?;
        let advertise = addresses::advertise(&init.advertise_addr, listen.port(), &facts)?;
        let data_path = addresses::data_path(&init.data_path_addr, &facts)?;
        check_ports(listen, if init.data_path_port == 0 { VXLAN_PORT } else { init.data_path_port })?;
        check_pools(&init, &facts)?;
        let saved =
            Saved { listen, advertise, data_path, managers: vec![advertise.to_string()], raft_id: Some(1) };
        let (identity, first) = self.found(&init, &saved, &facts).map_err(|e| internal(format!("{e:#}")))?;
        let node = identity.peer().node.clone();
        Box::pin(self.take_up(saved, identity, Some(first))).await?;
        Ok(node)
    }

    /// What a new swarm begins with: this node's identity, and the log's first entry.
    fn found(
        &self,
        init: &SwarmInit,
        saved: &Saved,
        facts: &shoal_host::HostFacts,
    ) -> anyhow::Result<(Identity, Entry)> {
        let now = entropy::now();
        let root = RootCa::generate(now)?;
        let (node, cluster) =
            (NodeId::from_random(entropy::random_id()), ClusterId::from_random(entropy::random_id()));
        let life = Duration::from_nanos(init.spec.ca_config.node_cert_expiry.unsigned_abs());
        let identity = Identity::first(&root, &node, &cluster, life, now)?;
        let (pools, subnet_size) = self.pools(init)?;
        let routes = facts.routes.iter().copied().collect();
        let founding = Founding {
            cluster,
            spec: init.spec.clone(),
            default_addr_pool: pools,
            subnet_size,
            data_path_port: init.data_path_port,
            root_ca: root.certificate().to_owned(),
            root_ca_key: root.key().to_owned(),
            join_tokens: JoinTokens {
                worker: JoinToken::generate(root.digest()).to_string(),
                manager: JoinToken::generate(root.digest()).to_string(),
            },
            node: self.first_node(node, init, saved, routes),
        };
        let changes = bootstrap(founding, now, &mut rand::rng());
        Ok((identity, Entry { batches: vec![Batch { now, changes }] }))
    }

    /// This node as the new swarm's first manager.
    fn first_node(&self, id: NodeId, init: &SwarmInit, saved: &Saved, routes: Vec<ipnet::IpNet>) -> Node {
        Node {
            id,
            meta: Meta::default(),
            spec: NodeSpec {
                role: NodeRole::Manager,
                availability: init.availability,
                ..NodeSpec::default()
            },
            description: self.engine.machine.describe(&self.engine.config, routes),
            status: NodeStatus {
                state: NodeState::Ready,
                addr: saved.advertise.ip().to_string(),
                data_path_addr: saved.data_path,
                since: entropy::now(),
                ..NodeStatus::default()
            },
            manager_addr: Some(saved.advertise.to_string()),
            raft_id: Some(1),
            attachments: BTreeMap::new(),
            certificate_digest: String::new(),
        }
    }

    fn pools(&self, init: &SwarmInit) -> anyhow::Result<(Vec<ipnet::IpNet>, u8)> {
        let size = if init.subnet_size == 0 { DEFAULT_SUBNET_SIZE } else { init.subnet_size };
        if !init.default_addr_pool.is_empty() {
            return Ok((init.default_addr_pool.clone(), size));
        }
        let pools = &self.engine.config.pools;
        if pools.is_empty() {
            return Ok((vec![DEFAULT_POOL.parse().context("the default pool")?], size));
        }
        // The swarm has one size for its IPv4 subnets; those of IPv6 are /64.
        let size = pools.iter().find(|pool| pool.base.addr().is_ipv4()).map_or(size, |pool| pool.size);
        Ok((pools.iter().map(|pool| pool.base).collect(), size))
    }

    /// Joins a swarm.
    pub(crate) async fn join(&self, request: SwarmJoin) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        self.must_be_inactive()?;
        let facts = self.engine.host.facts().map_err(|e| internal(node_loop::chain(&e)))?;
        let listen = addresses::listen(&request.listen_addr, &facts)?;
        let remotes: Vec<String> = request.remote_addrs.iter().map(|a| with_port(a)).collect();
        let advertise = match request.advertise_addr.as_str() {
            "" => SocketAddr::new(
                member::route_to(&remotes).map_err(|e| internal(format!("{e:#}")))?,
                listen.port(),
            ),
            given => addresses::advertise(given, listen.port(), &facts)?,
        };
        let data_path = addresses::data_path(&request.data_path_addr, &facts)?;
        check_ports(listen, VXLAN_PORT)?;
        let intent = JoinIntent {
            hostname: self.engine.machine.hostname.clone(),
            availability: request.availability,
            advertise_addr: advertise.to_string(),
            data_path_addr: data_path,
        };
        let joined = Box::pin(join(&remotes, &request.join_token, intent)).await;
        let (identity, reply) = joined.map_err(|e| join_error(&e))?;
        let saved = Saved { listen, advertise, data_path, managers: reply.managers, raft_id: None };
        Box::pin(self.take_up(saved, identity, None)).await
    }

    /// Writes the part down and begins with it; a part that cannot begin leaves nothing behind.
    async fn take_up(&self, saved: Saved, identity: Identity, first: Option<Entry>) -> Result<(), ApiError> {
        let begin = async {
            std::fs::create_dir_all(self.directory()).context("making the swarm's directory")?;
            self.files().save(&identity)?;
            disk::write_json(&self.directory().join("member.json"), &saved)?;
            Box::pin(member::start(&self.engine, self.directory(), self.files(), saved, identity, first))
                .await
        };
        match Box::pin(begin).await {
            Ok(member) => {
                *self.part() = Part::Member(member);
                Ok(())
            }
            Err(error) => {
                drop(std::fs::remove_dir_all(self.directory()));
                Err(internal(format!("{error:#}")))
            }
        }
    }

    /// Leaves the swarm: containers and networks go, and what was kept of it.
    pub(crate) async fn leave(&self, force: bool) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        let part = self.part().clone();
        let member = match part {
            Part::Inactive => return Err(ApiError::not_part_of_swarm()),
            Part::Failed(_) => None,
            Part::Member(member) => Some(member),
        };
        if let Some(dispatcher) = member.as_ref().and_then(|m| m.dispatcher.clone())
            && !force
        {
            return Err(ApiError::unavailable(leave_refusal(&dispatcher)));
        }
        if let Some(member) = member {
            member.end().await;
            let torn =
                node_loop::tear_down(self.engine.clone(), member.identity.clone(), LEAVE_DEADLINE).await;
            torn.map_err(|e| internal(format!("{e:#}")))?;
        }
        std::fs::remove_dir_all(self.directory()).map_err(internal)?;
        *self.part() = Part::Inactive;
        Ok(())
    }

    /// Ends in order what runs for the swarm; containers and traffic go on.
    pub(crate) async fn end(&self) {
        let part = self.part().clone();
        if let Part::Member(member) = part {
            member.end().await;
        }
    }
}

/// The managers that a member knows, with their ids where it can tell.
fn managers_of(member: &Member) -> Vec<ManagerPeer> {
    if let Some(dispatcher) = &member.dispatcher {
        let leadership = dispatcher.manager.log.leadership().borrow().clone();
        let peer = |m: shoal_raft::MemberStatus| ManagerPeer { node: m.member.node_id, addr: m.member.addr };
        return leadership.members.into_iter().map(peer).collect();
    }
    let known = member.managers.borrow().clone();
    known.into_iter().map(|addr| ManagerPeer { node: member.identity.node.clone(), addr }).collect()
}

/// Docker's words to a manager that wants to leave without force.
fn leave_refusal(dispatcher: &Dispatcher) -> String {
    let managers = dispatcher.manager.log.leadership().borrow().members.len();
    let begin = "You are attempting to leave the swarm on a node that is participating as a manager. ";
    let middle = if managers <= 1 {
        "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message.".to_owned()
    } else {
        let left = managers - 1;
        format!(
            "Removing this node leaves {left} managers out of {managers}. Without a Raft quorum your swarm will be inaccessible. \
             The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. \
             Use `--force` to suppress this message."
        )
    };
    format!("{begin}{middle}")
}

fn with_port(address: &str) -> String {
    if address.parse::<SocketAddr>().is_ok()
        || address.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok())
    {
        address.to_owned()
    } else {
        format!("{address}:{}", addresses::DEFAULT_PORT)
    }
}

/// Ports that the swarm needs and another program may have.
fn check_ports(listen: SocketAddr, vxlan: u16) -> Result<(), ApiError> {
    let taken =
        |what: String, error: std::io::Error| ApiError::new(Status::Internal, format!("{what}: {error}"));
    std::net::TcpListener::bind(listen).map_err(|e| {
        taken(format!("failed to listen on remote API address: listen tcp {listen}: bind"), e)
    })?;
    UdpSocket::bind(("0.0.0.0", vxlan))
        .map_err(|e| taken(format!("the VXLAN port {vxlan}/udp cannot be used: bind"), e))?;
    Ok(())
}

/// Pools that someone asked for must not overlap what this host has routes to.
fn check_pools(init: &SwarmInit, facts: &shoal_host::HostFacts) -> Result<(), ApiError> {
    for pool in &init.default_addr_pool {
        if pool.addr().is_ipv4() && init.subnet_size != 0 && init.subnet_size < pool.prefix_len() {
            return Err(ApiError::bad_request(format!(
                "invalid default subnet mask length {}: it is larger than the pool {pool}",
                init.subnet_size
            )));
        }
        if let Some(route) = facts.routes.iter().find(|r| r.contains(pool) || pool.contains(*r)) {
            return Err(ApiError::bad_request(format!(
                "default address pool {pool} overlaps with this host's route to {route}"
            )));
        }
    }
    Ok(())
}

fn join_error(error: &PeerError) -> ApiError {
    let text = node_loop::chain(error);
    match error {
        PeerError::Token(_) => ApiError::bad_request(text),
        PeerError::Refused(status) if status.code() == shoal_peer::Code::PermissionDenied => {
            ApiError::bad_request(format!("rpc error: code = PermissionDenied desc = {text}"))
        }
        PeerError::WrongRoot { .. } => ApiError::bad_request(text),
        PeerError::Unreachable { .. } | PeerError::TimedOut { .. } => ApiError::unavailable(text),
        _ => internal(text),
    }
}

/// What a node is in its swarm.
pub(crate) fn is_manager(identity: &Identity) -> bool {
    identity.peer().role == NodeRole::Manager
}
