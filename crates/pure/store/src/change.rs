//! The vocabulary of the log: every way in which the state can change.

use serde::{Deserialize, Serialize};
use shoal_model::network::Subnet;
use shoal_model::node::{NodeAttachment, NodeDescription, NodeState, NodeStatus};
use shoal_model::service::{Endpoint, UpdateStatus};
use shoal_model::spec::PortConfig;
use shoal_model::task::{Attachment, Owner};
use shoal_model::{
    Cluster, ClusterId, Config, ConfigId, Network, NetworkId, Node, NodeId, Secret, SecretId, Service,
    ServiceId, Task, TaskId, TaskReport, TaskState, Timestamp, Version,
};
use std::fmt;
use std::sync::Arc;

/// What one entry of the replicated log holds: several writes grouped, since every entry costs a flush to disk.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// The writes, in order; each succeeds or fails on its own.
    pub batches: Vec<Batch>,
}

/// Changes that are made together or not at all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Batch {
    /// The proposer's clock: the time that objects are stamped with.
    pub now: Timestamp,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// One change. Changes other than [`Change::Update`] and [`Change::Remove`] commute with each other as far as they
/// touch different parts of an object, so that a node's report never makes a plan of the control loop stale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Says that the batch is a plan of the control loop, made from the state at `base`. Refused when another plan has
    /// been applied since: one of a leader who has lost his place, or one that was thought lost and tried again.
    Plan {
        /// The index of the state that the plan was made from.
        base: u64,
    },
    /// Adds an object. Version and times are set by [`crate::apply`].
    Create(Object),
    /// Replaces an object; `meta.version` must be the stored one.
    Update(Object),
    /// Removes an object.
    Remove {
        /// Which.
        key: ObjectKey,
        /// The version that the remover has seen; absent removes any.
        if_version: Option<Version>,
    },
    /// What was observed of tasks. A report that would move a task backwards, that its owner may not make, or of a task
    /// that is gone, is ignored: nodes repeat themselves and speak late.
    ReportTasks {
        /// Who reports.
        owner: Owner,
        /// The reports.
        reports: Vec<TaskReport>,
    },
    /// Moves a task's observed state (staying is allowed, to change the words only).
    MoveTask {
        /// Which.
        id: TaskId,
        /// Who moves it.
        owner: Owner,
        /// Where to.
        to: TaskState,
        /// A word on it.
        message: String,
        /// What went wrong, or why it waits; empty when nothing did.
        err: String,
    },
    /// Raises a task's desired state.
    SetDesired {
        /// Which.
        id: TaskId,
        /// Where to; the same again changes nothing.
        to: TaskState,
    },
    /// Gives a task its addresses and moves it from `New` to `Pending`.
    AllocateTask {
        /// Which.
        id: TaskId,
        /// Its addresses, one attachment a network.
        attachments: Vec<Attachment>,
        /// Its host-mode ports.
        host_ports: Vec<PortConfig>,
    },
    /// Gives a task its node and moves it from `Pending` to `Assigned`.
    AssignTask {
        /// Which.
        id: TaskId,
        /// The node.
        node: NodeId,
        /// A word on it.
        message: String,
    },
    /// Gives a service its addresses and ports.
    AllocateService {
        /// Which.
        id: ServiceId,
        /// All that is allocated for it.
        endpoint: Endpoint,
    },
    /// Notes how a service's update goes.
    SetUpdateStatus {
        /// Which.
        id: ServiceId,
        /// The version of the spec that the status speaks of; a newer spec rejects it.
        if_spec_version: Version,
        /// The status.
        status: Option<UpdateStatus>,
    },
    /// Gives a network its subnets and VNI, or moves the marks of the addresses handed out last.
    AllocateNetwork {
        /// Which.
        id: NetworkId,
        /// Its subnets.
        subnets: Vec<Subnet>,
        /// Its VXLAN network identifier.
        vni: u32,
    },
    /// Gives a node its own endpoint on a network, or takes it away.
    AttachNode {
        /// Which.
        id: NodeId,
        /// The network.
        network: NetworkId,
        /// The endpoint.
        attachment: Option<NodeAttachment>,
    },
    /// What a node told of itself.
    ReportNode {
        /// Which.
        id: NodeId,
        /// Hostname, platform, resources.
        description: Option<Box<NodeDescription>>,
        /// Address and state.
        status: Option<NodeStatus>,
    },
    /// Marks a node ready or down, leaving its address alone.
    SetNodeState {
        /// Which.
        id: NodeId,
        /// Ready, down, …
        state: NodeState,
        /// Why.
        message: String,
    },
}

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The cluster.
    Cluster,
    /// A node.
    Node,
    /// A service.
    Service,
    /// A task.
    Task,
    /// A network.
    Network,
    /// A secret.
    Secret,
    /// A config.
    Config,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "swarm",
            Self::Node => "node",
            Self::Service => "service",
            Self::Task => "task",
            Self::Network => "network",
            Self::Secret => "secret",
            Self::Config => "config",
        })
    }
}

macro_rules! objects {
    ($($variant:ident($object:ident, $id:ident)),* $(,)?) => {
        /// A stored object of any kind.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub enum Object {
            $(#[doc = concat!("A [`", stringify!($object), "`].")] $variant(Arc<$object>),)*
        }

        /// The kind and id of a stored object.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ObjectKey {
            $(#[doc = concat!("The id of a [`", stringify!($object), "`].")] $variant($id),)*
        }

        impl Object {
            /// Its kind and id.
            pub fn key(&self) -> ObjectKey {
                match self {
                    $(Self::$variant(object) => ObjectKey::$variant(object.id.clone()),)*
                }
            }

            /// Version and times.
            pub fn meta(&self) -> &shoal_model::Meta {
                match self {
                    $(Self::$variant(object) => &object.meta,)*
                }
            }

            pub(crate) fn meta_mut(&mut self) -> &mut shoal_model::Meta {
                match self {
                    $(Self::$variant(object) => &mut Arc::make_mut(object).meta,)*
                }
            }
        }

        impl ObjectKey {
            /// What kind of object it names.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)*
                }
            }

            /// The id as text.
            pub fn id(&self) -> &str {
                match self {
                    $(Self::$variant(id) => id.as_str(),)*
                }
            }
        }

        $(
            impl From<$object> for Object {
                fn from(object: $object) -> Self {
                    Self::$variant(Arc::new(object))
                }
            }

            impl From<Arc<$object>> for Object {
                fn from(object: Arc<$object>) -> Self {
                    Self::$variant(object)
                }
            }

            impl From<$id> for ObjectKey {
                fn from(id: $id) -> Self {
                    Self::$variant(id)
                }
            }
        )*
    };
}

objects! {
    Cluster(Cluster, ClusterId),
    Node(Node, NodeId),
    Service(Service, ServiceId),
    Task(Task, TaskId),
    Network(Network, NetworkId),
    Secret(Secret, SecretId),
    Config(Config, ConfigId),
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.id())
    }
}
