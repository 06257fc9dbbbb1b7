//! Why a batch was not applied.

use crate::{Kind, ObjectKey};
use serde::{Deserialize, Serialize};
use shoal_model::spec::Protocol;
use shoal_model::task::Owner;
use shoal_model::{NetworkId, ServiceId, TaskId, TaskState};
use std::net::IpAddr;

/// Why a batch was not applied. Where Docker shows such an error, the words are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Rejected {
    /// Someone else has written the object since it was read.
    #[error("update out of sequence")]
    OutOfSequence {
        /// The object.
        key: ObjectKey,
    },
    /// The state has been planned for since the plan was made.
    #[error("a plan made at index {base} was overtaken by one applied at index {by}")]
    Overtaken {
        /// The index of the state that the plan was made from.
        base: u64,
        /// The index at which the later plan was applied.
        by: u64,
    },
    /// Another object of the kind has the name.
    #[error("{}", name_conflict(*kind, name))]
    NameConflict {
        /// What kind.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// The object to be created is there already.
    #[error("{key} already exists")]
    Exists {
        /// The object.
        key: ObjectKey,
    },
    /// The object to be changed, or one that the change refers to, is not there.
    #[error("{key} not found")]
    NotFound {
        /// The object.
        key: ObjectKey,
    },
    /// The object cannot be removed while another refers to it.
    #[error("{key} is in use by {by}")]
    InUse {
        /// The object.
        key: ObjectKey,
        /// Who refers to it.
        by: ObjectKey,
    },
    /// The address is held already.
    #[error("address {address} on network {network} is held by {by}")]
    AddressInUse {
        /// The network.
        network: NetworkId,
        /// The address.
        address: IpAddr,
        /// Who holds it.
        by: ObjectKey,
    },
    /// The published port is held already.
    #[error("port '{port}' is already in use by service '{name}' ({service}) as an ingress port")]
    PortInUse {
        /// Protocol.
        protocol: Protocol,
        /// Published port.
        port: u16,
        /// The service that holds it.
        service: ServiceId,
        /// Its name.
        name: String,
    },
    /// The VXLAN network identifier is held already.
    #[error("VXLAN network identifier {vni} is held by {by}")]
    VniInUse {
        /// The identifier.
        vni: u32,
        /// Who holds it.
        by: ObjectKey,
    },
    /// The consensus number is held already.
    #[error("consensus number {raft_id} is held by {by}")]
    RaftIdInUse {
        /// The number.
        raft_id: u64,
        /// Who holds it.
        by: ObjectKey,
    },
    /// The owner may not move the task so.
    #[error("task {id} cannot be moved from {} to {} by {owner:?}", from.as_str(), to.as_str())]
    BadTransition {
        /// The task.
        id: TaskId,
        /// Who tried.
        owner: Owner,
        /// Its observed state.
        from: TaskState,
        /// The state wanted.
        to: TaskState,
    },
    /// A desired state only moves forward.
    #[error("the desired state of task {id} cannot go back from {} to {}", from.as_str(), to.as_str())]
    DesiredBackwards {
        /// The task.
        id: TaskId,
        /// Its desired state.
        from: TaskState,
        /// The state wanted.
        to: TaskState,
    },
}

fn name_conflict(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Network => format!("network with name {name} already exists"),
        Kind::Secret | Kind::Config => format!("{kind} {name} already exists"),
        Kind::Cluster | Kind::Node | Kind::Service | Kind::Task => {
            format!("name conflicts with an existing object: {kind} {name} already exists")
        }
    }
}
