//! The swarm: requests become changes, changes go to the log.

use super::{Backend, internal};
use crate::entropy;
use crate::manager::{Manager, WriteError};
use async_trait::async_trait;
use rand::RngCore;
use shoal_api::backend::{Stream, Swarm};
use shoal_control::admit::{self, AdmitError, Code};
use shoal_model::cluster::ClusterSpec;
use shoal_model::network::NetworkSpec;
use shoal_model::node::NodeSpec;
use shoal_model::object::DataSpec;
use shoal_model::spec::ServiceSpec;
use shoal_model::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, Timestamp, Version};
use shoal_store::{Change, Object, ObjectKey, Rejected, State};
use shoal_wire::ApiError;
use shoal_wire::error::Status;
use shoal_wire::logs::{LogQuery, LogSource, TaskLogLine};
use shoal_wire::requests::{Rotate, ServiceCreated, ServiceUpdate, SwarmInit, SwarmJoin};
use shoal_wire::system::{ManagerHealth, Membership};
use std::collections::BTreeMap;
use std::sync::Arc;

#[async_trait]
impl Swarm for Backend {
    fn membership(&self) -> Membership {
        self.swarm.membership()
    }

    fn state(&self) -> Result<Arc<State>, ApiError> {
        Ok(self.manager()?.log.state())
    }

    fn managers(&self) -> BTreeMap<NodeId, ManagerHealth> {
        let Ok(manager) = self.manager() else { return BTreeMap::new() };
        let leadership = manager.log.leadership().borrow().clone();
        let health = |m: shoal_raft::MemberStatus| {
            (m.member.node_id, ManagerHealth { leader: m.leader, reachable: m.reachable })
        };
        leadership.members.into_iter().map(health).collect()
    }

    async fn swarm_init(&self, init: SwarmInit) -> Result<NodeId, ApiError> {
        let swarm = self.swarm.clone();
        self.carry_through(async move { Box::pin(swarm.init(init)).await }).await
    }

    async fn swarm_join(&self, join: SwarmJoin) -> Result<(), ApiError> {
        let swarm = self.swarm.clone();
        self.carry_through(async move { Box::pin(swarm.join(join)).await }).await
    }

    async fn swarm_leave(&self, force: bool) -> Result<(), ApiError> {
        let swarm = self.swarm.clone();
        self.carry_through(async move { swarm.leave(force).await }).await
    }

    async fn swarm_update(&self, version: u64, spec: ClusterSpec, rotate: Rotate) -> Result<(), ApiError> {
        if spec.encryption_config.auto_lock_managers || rotate.manager_unlock_key {
            return Err(ApiError::not_implemented("locking managers' data (autolock) is not built yet"));
        }
        self.write(|state, _now, _rng| {
            let mut cluster = admit::update_cluster(state, Version { index: version }, spec.clone())?;
            let digest = shoal_peer::root_digest(&cluster.root_ca).map_err(|e| unknown(&e))?;
            if rotate.worker_token {
                cluster.join_tokens.worker = shoal_peer::JoinToken::generate(digest).to_string();
            }
            if rotate.manager_token {
                cluster.join_tokens.manager = shoal_peer::JoinToken::generate(digest).to_string();
            }
            Ok((vec![Change::Update(Object::from(cluster))], ()))
        })
        .await
    }

    async fn swarm_unlock(&self, _key: String) -> Result<(), ApiError> {
        self.manager()?;
        Err(ApiError::conflict("swarm is not locked"))
    }

    async fn unlock_key(&self) -> Result<String, ApiError> {
        self.manager()?;
        Ok(String::new())
    }

    async fn create_service(
        &self,
        spec: ServiceSpec,
        auth: Option<String>,
    ) -> Result<ServiceCreated, ApiError> {
        let id = self
            .write(|state, now, rng| {
                let mut service = admit::create_service(state, spec.clone(), now, rng)?;
                service.registry_auth.clone_from(&auth);
                let id = service.id.clone();
                Ok((vec![Change::Create(Object::from(service))], id))
            })
            .await?;
        self.engine.events.swarm("service", "create", id.as_str(), &spec.name);
        Ok(ServiceCreated { id, warnings: Vec::new() })
    }

    async fn update_service(&self, id: ServiceId, update: ServiceUpdate) -> Result<Vec<String>, ApiError> {
        let name = self
            .write(|state, now, _rng| {
                let version = Version { index: update.version };
                let mut service =
                    admit::update_service(state, &id, version, update.spec.clone(), update.rollback, now)?;
                // Without new credentials the kept ones stay.
                if update.auth.is_some() {
                    service.registry_auth.clone_from(&update.auth);
                }
                let name = service.spec.name.clone();
                Ok((vec![Change::Update(Object::from(service))], name))
            })
            .await?;
        self.engine.events.swarm("service", "update", id.as_str(), &name);
        Ok(Vec::new())
    }

    async fn remove_service(&self, id: ServiceId) -> Result<(), ApiError> {
        let name = self.state()?.services().get(&id).map(|s| s.spec.name.clone()).unwrap_or_default();
        self.write(|state, _now, _rng| {
            admit::remove_service(state, &id)?;
            Ok((vec![removal(ObjectKey::Service(id.clone()))], ()))
        })
        .await?;
        self.engine.events.swarm("service", "remove", id.as_str(), &name);
        Ok(())
    }

    async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkId, ApiError> {
        let id = self
            .write(|state, now, rng| {
                let network = admit::create_network(state, spec.clone(), "overlay", now, rng)?;
                let id = network.id.clone();
                Ok((vec![Change::Create(Object::from(network))], id))
            })
            .await?;
        self.engine.events.swarm("network", "create", id.as_str(), &spec.name);
        Ok(id)
    }

    async fn remove_network(&self, id: NetworkId) -> Result<(), ApiError> {
        self.write(|state, _now, _rng| {
            admit::remove_network(state, &id)?;
            Ok((vec![removal(ObjectKey::Network(id.clone()))], ()))
        })
        .await?;
        self.engine.events.swarm("network", "remove", id.as_str(), "");
        Ok(())
    }

    async fn update_node(&self, id: NodeId, version: u64, spec: NodeSpec) -> Result<(), ApiError> {
        self.write(|state, _now, _rng| {
            let node = admit::update_node(state, &id, Version { index: version }, spec.clone())?;
            Ok((vec![Change::Update(Object::from(node))], ()))
        })
        .await?;
        self.engine.events.swarm("node", "update", id.as_str(), "");
        Ok(())
    }

    async fn remove_node(&self, id: NodeId, force: bool) -> Result<(), ApiError> {
        self.write(|state, _now, _rng| {
            admit::remove_node(state, &id, force)?;
            Ok((vec![removal(ObjectKey::Node(id.clone()))], ()))
        })
        .await?;
        self.engine.events.swarm("node", "remove", id.as_str(), "");
        Ok(())
    }

    async fn create_secret(&self, spec: DataSpec) -> Result<SecretId, ApiError> {
        self.write(|state, now, rng| {
            let secret = admit::create_secret(state, spec.clone(), now, rng)?;
            let id = secret.id.clone();
            Ok((vec![Change::Create(Object::from(secret))], id))
        })
        .await
    }

    async fn update_secret(&self, id: SecretId, version: u64, spec: DataSpec) -> Result<(), ApiError> {
        self.write(|state, _now, _rng| {
            let secret = admit::update_secret(state, &id, Version { index: version }, spec.clone())?;
            Ok((vec![Change::Update(Object::from(secret))], ()))
        })
        .await
    }

    async fn remove_secret(&self, id: SecretId) -> Result<(), ApiError> {
        self.write(|state, _now, _rng| {
            admit::remove_secret(state, &id)?;
            Ok((vec![removal(ObjectKey::Secret(id.clone()))], ()))
        })
        .await
    }

    async fn create_config(&self, spec: DataSpec) -> Result<ConfigId, ApiError> {
        self.write(|state, now, rng| {
            let config = admit::create_config(state, spec.clone(), now, rng)?;
            let id = config.id.clone();
            Ok((vec![Change::Create(Object::from(config))], id))
        })
        .await
    }

    async fn update_config(&self, id: ConfigId, version: u64, spec: DataSpec) -> Result<(), ApiError> {
        self.write(|state, _now, _rng| {
            let config = admit::update_config(state, &id, Version { index: version }, spec.clone())?;
            Ok((vec![Change::Update(Object::from(config))], ()))
        })
        .await
    }

    async fn remove_config(&self, id: ConfigId) -> Result<(), ApiError> {
        self.write(|state, _now, _rng| {
            admit::remove_config(state, &id)?;
            Ok((vec![removal(ObjectKey::Config(id.clone()))], ()))
        })
        .await
    }

    async fn task_logs(&self, source: LogSource, query: LogQuery) -> Result<Stream<TaskLogLine>, ApiError> {
        Ok(crate::service_logs::gather(&self.swarm.dispatcher()?, &source, query))
    }
}

fn removal(key: ObjectKey) -> Change {
    Change::Remove { key, if_version: None }
}

fn unknown(error: &dyn std::fmt::Display) -> AdmitError {
    AdmitError::Plain { code: Code::Unknown, message: error.to_string() }
}

impl Backend {
    fn manager(&self) -> Result<Arc<Manager>, ApiError> {
        self.swarm.manager()
    }

    /// Checks a request against the newest state and writes what it leads to.
    async fn write<T>(
        &self,
        request: impl Fn(&State, Timestamp, &mut dyn RngCore) -> Result<(Vec<Change>, T), AdmitError>,
    ) -> Result<T, ApiError> {
        let manager = self.manager()?;
        let now = entropy::now();
        // The random source must not live across the wait for the log.
        let admitted = request(&manager.log.state(), now, &mut rand::rng());
        let (changes, answer) = admitted.map_err(|e| admit_error(&e))?;
        manager.write(changes, now).await.map_err(write_error)?;
        Ok(answer)
    }
}

/// A refusal with Docker's status.
pub(crate) fn admit_error(error: &AdmitError) -> ApiError {
    let status = match error.code().http_status() {
        400 => Status::BadRequest,
        403 => Status::Forbidden,
        404 => Status::NotFound,
        409 => Status::Conflict,
        501 => Status::NotImplemented,
        _ => Status::Internal,
    };
    ApiError::new(status, error.to_string())
}

fn write_error(error: WriteError) -> ApiError {
    match error {
        WriteError::Rejected(rejected) if matches!(*rejected, Rejected::OutOfSequence { .. }) => {
            ApiError::out_of_sequence()
        }
        WriteError::Rejected(rejected) => admit_error(&AdmitError::Rejected(*rejected)),
        WriteError::NoLeader => ApiError::no_leader(),
        WriteError::Other(text) => internal(text),
    }
}
