//! The Docker Engine API as data: what travels, in which version, under which path.
//!
//! Owns the bodies of requests and answers (with Go's rules for omitted fields), the route table, version negotiation,
//! filters, query values, the framing of log and exec streams, the texts that the server makes ("Up 2 seconds"), and the
//! plain facts ([`container::Container`], [`image::Image`], …) that those answers are made from.
//!
//! Must never: read a clock, a socket or a file; be async; decide anything about the cluster.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod container;
pub mod container_body;
pub mod detach_keys;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod image;
pub mod image_body;
pub mod info;
pub mod json;
pub mod logs;
pub mod lvs;
pub mod metrics;
pub mod network;
pub mod network_body;
pub mod node;
pub mod object;
mod omit;
pub mod progress;
pub mod query;
pub mod registry_auth;
pub mod requests;
pub mod routes;
pub mod service;
pub mod status_text;
pub mod stdcopy;
pub mod swarm;
pub mod system;
pub mod task;
pub mod trace;
pub mod verify;
pub mod version;

pub use error::{ApiError, Status};
pub use json::from_json;
pub use version::ApiVersion;
