//! A daemon that holds everything in memory and does little, for the server to speak for.

mod containers;
mod images;
mod objects;
mod server;

pub(crate) use objects::{CONTAINER_ID, IMAGE_ID, MANAGER_ID, SERVICE_ID, WORKER_ID};
pub(crate) use server::Server;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use shoal_api::backend::{Networks, Stream, Swarm, System};
use shoal_model::cluster::ClusterSpec;
use shoal_model::network::NetworkSpec;
use shoal_model::node::NodeSpec;
use shoal_model::object::DataSpec;
use shoal_model::spec::Protocol;
use shoal_model::spec::ServiceSpec;
use shoal_model::trace::Trace;
use shoal_model::verdict::Verdict;
use shoal_model::{
    Config, ConfigId, Meta, Network, NetworkId, NodeId, Secret, SecretId, Service, ServiceId, TaskId,
    Timestamp, Version,
};
use shoal_store::{Batch, Change, Entry, Object, ObjectKey, State};
use shoal_wire::ApiError;
use shoal_wire::error::RpcCode;
use shoal_wire::event::{Event, Scope};
use shoal_wire::logs::{LogLine, LogQuery, LogSource, StdStream, TaskLogLine};
use shoal_wire::lvs::Shown;
use shoal_wire::network::{LocalNetwork, OverlayView};
use shoal_wire::requests::{Rotate, ServiceCreated, ServiceUpdate, SwarmInit, SwarmJoin};
use shoal_wire::system::{DiskUsage, ManagerHealth, ManagerPeer, MemberFacts, Membership, SystemFacts};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The present time of the fake.
pub(crate) const NOW: Timestamp = Timestamp(1_795_390_850_000_000_000);

/// What was asked of the fake, for tests to look at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    Init(SwarmInit),
    Join(SwarmJoin),
    Leave(bool),
    UpdateSwarm(u64, ClusterSpec, Rotate),
    Create(ServiceSpec, Option<String>),
    Update(ServiceUpdate),
    UpdateNode(NodeSpec),
    Kill(String),
    Load(usize),
    Import(usize, Option<String>),
    Exec(shoal_wire::exec::ExecConfig),
    Resize(u16, u16),
}

/// The daemon.
pub(crate) struct Fake {
    pub(crate) membership: Mutex<Membership>,
    pub(crate) state: Mutex<Arc<State>>,
    pub(crate) asked: Mutex<Vec<Asked>>,
    pub(crate) containers: Mutex<Vec<shoal_wire::container::Container>>,
    pub(crate) execs: Arc<Mutex<Vec<shoal_wire::exec::Exec>>>,
    pub(crate) started: tokio::sync::Notify,
    counter: AtomicU64,
}

impl Fake {
    /// A manager of a swarm of three nodes with one service.
    pub(crate) fn manager() -> Arc<Self> {
        let fake = Self::alone();
        *fake.membership.lock().unwrap() = Membership::Manager(member(MANAGER_ID));
        let objects = objects::all();
        fake.change(objects.into_iter().map(Change::Create).collect()).unwrap();
        fake
    }

    /// A worker.
    pub(crate) fn worker() -> Arc<Self> {
        let fake = Self::alone();
        *fake.membership.lock().unwrap() = Membership::Worker(member(WORKER_ID));
        fake
    }

    /// In no swarm.
    pub(crate) fn alone() -> Arc<Self> {
        Arc::new(Self {
            membership: Mutex::new(Membership::Inactive),
            state: Mutex::default(),
            asked: Mutex::default(),
            containers: Mutex::new(vec![objects::container()]),
            execs: Arc::default(),
            started: tokio::sync::Notify::new(),
            counter: AtomicU64::new(1000),
        })
    }

    pub(crate) fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }

    pub(crate) fn last_asked(&self) -> Asked {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }

    fn random(&self) -> u128 {
        u128::from(self.counter.fetch_add(1, Ordering::Relaxed)) << 96
    }

    pub(crate) fn change(&self, changes: Vec<Change>) -> Result<(), ApiError> {
        let mut state = self.state.lock().unwrap();
        let mut new = State::clone(&state);
        let index = self.counter.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { batches: vec![Batch { now: NOW, changes }] };
        for result in shoal_store::apply(&mut new, index, &entry) {
            result.map_err(|e| match e {
                shoal_store::Rejected::OutOfSequence { .. } => ApiError::out_of_sequence(),
                other => ApiError::rpc(RpcCode::AlreadyExists, other),
            })?;
        }
        *state = Arc::new(new);
        Ok(())
    }
}

fn member(node: &str) -> MemberFacts {
    let manager = ManagerPeer { node: MANAGER_ID.parse().unwrap(), addr: "192.168.50.11:2377".into() };
    MemberFacts { node: node.parse().unwrap(), addr: "192.168.50.11".into(), managers: vec![manager] }
}

#[async_trait]
impl System for Fake {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn system(&self) -> SystemFacts {
        SystemFacts {
            id: "OTW6:SLUU".into(),
            name: "swarm-manager".into(),
            version: "28.2.2".into(),
            git_commit: "abc1234".into(),
            build_time: "2026-11-22T21:09:36.000000000+00:00".into(),
            compiler: "rustc 1.95".into(),
            kernel_version: "6.1.0".into(),
            operating_system: "Debian GNU/Linux 12 (bookworm)".into(),
            os_version: "12".into(),
            architecture: "x86_64".into(),
            cpus: 2,
            memory_bytes: 8_326_922_240,
            data_root: "/var/lib/shoal".into(),
            storage_driver: "overlay2".into(),
            cgroup_version: 2,
            balancer: "ebpf".into(),
            containers_running: 1,
            images: 1,
            ipv4_forwarding: true,
            memory_limit: true,
            swap_limit: true,
            cpu_quota: true,
            cpu_set: true,
            pids_limit: true,
            ..SystemFacts::default()
        }
    }

    async fn disk_usage(&self) -> Result<DiskUsage, ApiError> {
        let container_bytes = vec![(CONTAINER_ID.to_owned(), 12)];
        Ok(DiskUsage { layers_bytes: 5_000_000, container_bytes, at: NOW })
    }

    fn events(&self, since: Option<Timestamp>) -> BoxStream<'static, Event> {
        let event = |action: &str, at: i64| Event {
            kind: "container".into(),
            action: action.into(),
            id: CONTAINER_ID.into(),
            attributes: BTreeMap::from([
                ("image".to_owned(), "whoami:latest".to_owned()),
                ("name".to_owned(), "whoami.1".to_owned()),
            ]),
            scope: Scope::Local,
            at: Timestamp(at),
        };
        let all = [event("create", NOW.0 - 2_000_000_000), event("start", NOW.0 - 1_000_000_000)];
        let told: Vec<_> = all.into_iter().filter(|e| since.is_some_and(|since| e.at >= since)).collect();
        futures::stream::iter(told).chain(futures::stream::pending()).boxed()
    }
}

#[async_trait]
impl Swarm for Fake {
    fn membership(&self) -> Membership {
        self.membership.lock().unwrap().clone()
    }

    fn state(&self) -> Result<Arc<State>, ApiError> {
        match self.membership() {
            Membership::Manager(_) => Ok(self.state.lock().unwrap().clone()),
            Membership::Worker(_) => Err(ApiError::worker()),
            Membership::Locked => Err(ApiError::locked()),
            _ => Err(ApiError::not_in_swarm()),
        }
    }

    fn managers(&self) -> BTreeMap<NodeId, ManagerHealth> {
        BTreeMap::from([(MANAGER_ID.parse().unwrap(), ManagerHealth { leader: true, reachable: true })])
    }

    async fn swarm_init(&self, init: SwarmInit) -> Result<NodeId, ApiError> {
        if self.membership() != Membership::Inactive {
            return Err(ApiError::already_in_swarm());
        }
        self.note(Asked::Init(init));
        *self.membership.lock().unwrap() = Membership::Manager(member(MANAGER_ID));
        self.change(objects::all().into_iter().map(Change::Create).collect())?;
        Ok(MANAGER_ID.parse().unwrap())
    }

    async fn swarm_join(&self, join: SwarmJoin) -> Result<(), ApiError> {
        if self.membership() != Membership::Inactive {
            return Err(ApiError::already_in_swarm());
        }
        self.note(Asked::Join(join));
        *self.membership.lock().unwrap() = Membership::Worker(member(WORKER_ID));
        Ok(())
    }

    async fn swarm_leave(&self, force: bool) -> Result<(), ApiError> {
        if self.membership() == Membership::Inactive {
            return Err(ApiError::not_part_of_swarm());
        }
        self.note(Asked::Leave(force));
        *self.membership.lock().unwrap() = Membership::Inactive;
        Ok(())
    }

    async fn swarm_update(&self, version: u64, spec: ClusterSpec, rotate: Rotate) -> Result<(), ApiError> {
        self.note(Asked::UpdateSwarm(version, spec, rotate));
        Ok(())
    }

    async fn swarm_unlock(&self, _: String) -> Result<(), ApiError> {
        Err(ApiError::conflict("swarm is not locked"))
    }

    async fn unlock_key(&self) -> Result<String, ApiError> {
        Ok(String::new())
    }

    async fn create_service(
        &self,
        spec: ServiceSpec,
        auth: Option<String>,
    ) -> Result<ServiceCreated, ApiError> {
        self.note(Asked::Create(spec.clone(), auth));
        let id = ServiceId::from_random(self.random());
        if self.state()?.services().values().any(|service| service.spec.name == spec.name) {
            return Err(ApiError::rpc(
                RpcCode::AlreadyExists,
                format!("name conflicts with an existing object: service {} already exists", spec.name),
            ));
        }
        let replicas = spec.replicas().unwrap_or(0);
        let service = Service { id: id.clone(), spec, ..objects::empty_service() };
        let tasks = (1..=replicas).map(|slot| {
            let task = objects::running_task(TaskId::from_random(self.random()), &service, slot);
            Change::Create(Object::Task(Arc::new(task)))
        });
        let tasks: Vec<_> = tasks.collect();
        self.change(vec![Change::Create(Object::Service(Arc::new(service)))])?;
        self.change(tasks)?;
        Ok(ServiceCreated { id, warnings: Vec::new() })
    }

    async fn update_service(&self, id: ServiceId, update: ServiceUpdate) -> Result<Vec<String>, ApiError> {
        let mut service = Service::clone(&self.state()?.services()[&id]);
        service.meta.version = Version { index: update.version };
        service.previous_spec = Some(service.spec);
        service.spec = update.spec.clone();
        self.note(Asked::Update(update));
        self.change(vec![Change::Update(Object::Service(Arc::new(service)))])?;
        Ok(Vec::new())
    }

    async fn remove_service(&self, id: ServiceId) -> Result<(), ApiError> {
        self.change(vec![Change::Remove { key: ObjectKey::Service(id), if_version: None }])
    }

    async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkId, ApiError> {
        let id = NetworkId::from_random(self.random());
        let network = Network { id: id.clone(), meta: Meta::default(), spec, subnets: Vec::new(), vni: 0 };
        self.change(vec![Change::Create(Object::Network(Arc::new(network)))])?;
        Ok(id)
    }

    async fn remove_network(&self, id: NetworkId) -> Result<(), ApiError> {
        let state = self.state()?;
        let users = state.services().values().find(|service| service.vips_on(&id).next().is_some());
        if let Some(user) = users {
            let desc = format!("network {id} is in use by service {}", user.id);
            return Err(ApiError::rpc(RpcCode::FailedPrecondition, desc));
        }
        self.change(vec![Change::Remove { key: ObjectKey::Network(id), if_version: None }])
    }

    async fn update_node(&self, _: NodeId, _: u64, spec: NodeSpec) -> Result<(), ApiError> {
        self.note(Asked::UpdateNode(spec));
        Ok(())
    }

    async fn remove_node(&self, id: NodeId, _: bool) -> Result<(), ApiError> {
        Err(ApiError::rpc(RpcCode::FailedPrecondition, format!("node {id} is not down and can't be removed")))
    }

    async fn create_secret(&self, spec: DataSpec) -> Result<SecretId, ApiError> {
        let id = SecretId::from_random(self.random());
        let secret = Secret { id: id.clone(), meta: Meta::default(), spec };
        self.change(vec![Change::Create(Object::Secret(Arc::new(secret)))])?;
        Ok(id)
    }

    async fn update_secret(&self, _: SecretId, _: u64, _: DataSpec) -> Result<(), ApiError> {
        Ok(())
    }

    async fn remove_secret(&self, id: SecretId) -> Result<(), ApiError> {
        self.change(vec![Change::Remove { key: ObjectKey::Secret(id), if_version: None }])
    }

    async fn create_config(&self, spec: DataSpec) -> Result<ConfigId, ApiError> {
        let id = ConfigId::from_random(self.random());
        let config = Config { id: id.clone(), meta: Meta::default(), spec };
        self.change(vec![Change::Create(Object::Config(Arc::new(config)))])?;
        Ok(id)
    }

    async fn update_config(&self, _: ConfigId, _: u64, _: DataSpec) -> Result<(), ApiError> {
        Ok(())
    }

    async fn remove_config(&self, id: ConfigId) -> Result<(), ApiError> {
        self.change(vec![Change::Remove { key: ObjectKey::Config(id), if_version: None }])
    }

    async fn task_logs(&self, source: LogSource, query: LogQuery) -> Result<Stream<TaskLogLine>, ApiError> {
        let state = self.state()?;
        let lines: Vec<_> = state
            .tasks()
            .values()
            .filter(|task| match &source {
                LogSource::Service(id) => &task.service == id,
                LogSource::Task(id) => &task.id == id,
            })
            .map(|task| TaskLogLine {
                node: task.node.clone().unwrap(),
                service: task.service.clone(),
                task: task.id.clone(),
                line: LogLine { at: NOW, stream: StdStream::Stdout, text: b"Listening on :8000\n".to_vec() },
            })
            .map(Ok)
            .collect();
        let told = futures::stream::iter(lines);
        Ok(if query.follow { told.chain(futures::stream::pending()).boxed() } else { told.boxed() })
    }
}

#[async_trait]
impl Networks for Fake {
    fn local_networks(&self) -> Vec<LocalNetwork> {
        objects::local_networks()
    }

    fn overlays(&self) -> Vec<OverlayView> {
        match self.membership() {
            Membership::Inactive => Vec::new(),
            _ => objects::overlays(),
        }
    }

    async fn virtual_server(&self, _connections: bool) -> Result<Shown, ApiError> {
        Ok(Shown::default())
    }

    async fn trace(&self, _: &str, _: &str, _: Protocol) -> Result<Trace, ApiError> {
        Ok(Trace::default())
    }

    async fn verify(&self, quick: bool) -> Result<Verdict, ApiError> {
        Ok(Verdict { nodes: Vec::new(), note: format!("quick: {quick}") })
    }
}
