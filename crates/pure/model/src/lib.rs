//! The nouns of Shoal: what a cluster is made of, as plain data.
//!
//! Owns the types that every other crate speaks in: specs (what a user asked for), stored objects (what the cluster
//! holds), statuses (what was observed), what one node is told to hold ([`Assignment`]), and what the balancer holds
//! ([`lvs`]). Parsing is validation: a value of these types is already well formed.
//!
//! Must never: read a clock, a random source, a file or a socket; log; spawn; be async; contain unsafe code.
#![forbid(unsafe_code)]

pub mod assignment;
pub mod balancing;
pub mod cluster;
pub mod constraint;
pub mod deviation;
pub mod dns;
pub mod id;
pub mod image_reference;
pub mod lvs;
pub mod mac;
pub mod meta;
pub mod netns;
pub mod network;
pub mod node;
pub mod object;
pub mod publishing;
pub mod service;
pub mod spec;
pub mod task;
pub mod time;
pub mod trace;
pub mod verdict;

pub use assignment::{Assignment, Observed, TaskAssignment, TaskReport};
pub use cluster::Cluster;
pub use deviation::{Deviation, DeviationKind, Found};
pub use id::{ClusterId, ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
pub use mac::Mac;
pub use meta::{Meta, Version};
pub use network::Network;
pub use node::Node;
pub use object::{Config, Secret};
pub use service::Service;
pub use task::{Task, TaskState, TaskStatus};
pub use time::Timestamp;
