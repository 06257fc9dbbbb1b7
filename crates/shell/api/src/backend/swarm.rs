//! The swarm: membership and the replicated objects.

use super::Stream;
use async_trait::async_trait;
use shoal_model::cluster::ClusterSpec;
use shoal_model::network::NetworkSpec;
use shoal_model::node::NodeSpec;
use shoal_model::object::DataSpec;
use shoal_model::spec::ServiceSpec;
use shoal_model::{ConfigId, NetworkId, NodeId, SecretId, ServiceId};
use shoal_store::State;
use shoal_wire::ApiError;
use shoal_wire::logs::{LogQuery, LogSource, TaskLogLine};
use shoal_wire::requests::{Rotate, ServiceCreated, ServiceUpdate, SwarmInit, SwarmJoin};
use shoal_wire::system::{ManagerHealth, Membership};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The swarm: membership and the replicated objects.
#[async_trait]
pub trait Swarm: Send + Sync + 'static {
    /// This node's part in a swarm.
    fn membership(&self) -> Membership;

    /// The replicated state as this manager holds it. On other nodes one of Docker's 503s
    /// ([`ApiError::not_in_swarm`], [`ApiError::worker`], [`ApiError::locked`]).
    fn state(&self) -> Result<Arc<State>, ApiError>;

    /// The managers' part in the consensus group, by node; empty on nodes that are no managers.
    fn managers(&self) -> BTreeMap<NodeId, ManagerHealth>;

    /// Starts a swarm; this node is its first manager. A member gets [`ApiError::already_in_swarm`].
    async fn swarm_init(&self, init: SwarmInit) -> Result<NodeId, ApiError>;

    /// Joins a swarm.
    async fn swarm_join(&self, join: SwarmJoin) -> Result<(), ApiError>;

    /// Leaves the swarm; managers only with `force`.
    async fn swarm_leave(&self, force: bool) -> Result<(), ApiError>;

    /// Changes the swarm's parameters and makes anew what `rotate` says.
    async fn swarm_update(&self, version: u64, spec: ClusterSpec, rotate: Rotate) -> Result<(), ApiError>;

    /// Unlocks this manager's data.
    async fn swarm_unlock(&self, key: String) -> Result<(), ApiError>;

    /// The key that unlocks managers; empty while locking is off.
    async fn unlock_key(&self) -> Result<String, ApiError>;

    /// Creates a service. `auth` is `X-Registry-Auth` as it came, to be kept for the nodes that fetch the image.
    async fn create_service(
        &self,
        spec: ServiceSpec,
        auth: Option<String>,
    ) -> Result<ServiceCreated, ApiError>;

    /// Changes a service; the answer are warnings.
    async fn update_service(&self, id: ServiceId, update: ServiceUpdate) -> Result<Vec<String>, ApiError>;

    /// Removes a service.
    async fn remove_service(&self, id: ServiceId) -> Result<(), ApiError>;

    /// Creates an overlay network.
    async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkId, ApiError>;

    /// Removes an overlay network.
    async fn remove_network(&self, id: NetworkId) -> Result<(), ApiError>;

    /// Changes a node's labels, role or availability.
    async fn update_node(&self, id: NodeId, version: u64, spec: NodeSpec) -> Result<(), ApiError>;

    /// Removes a node that is down; with `force` one that is not.
    async fn remove_node(&self, id: NodeId, force: bool) -> Result<(), ApiError>;

    /// Creates a secret.
    async fn create_secret(&self, spec: DataSpec) -> Result<SecretId, ApiError>;

    /// Changes a secret's labels.
    async fn update_secret(&self, id: SecretId, version: u64, spec: DataSpec) -> Result<(), ApiError>;

    /// Removes a secret that no service uses.
    async fn remove_secret(&self, id: SecretId) -> Result<(), ApiError>;

    /// Creates a config.
    async fn create_config(&self, spec: DataSpec) -> Result<ConfigId, ApiError>;

    /// Changes a config's labels.
    async fn update_config(&self, id: ConfigId, version: u64, spec: DataSpec) -> Result<(), ApiError>;

    /// Removes a config that no service uses.
    async fn remove_config(&self, id: ConfigId) -> Result<(), ApiError>;

    /// Lines that tasks wrote, wherever they run. Ends when all is told; never while `follow`.
    async fn task_logs(&self, source: LogSource, query: LogQuery) -> Result<Stream<TaskLogLine>, ApiError>;
}
