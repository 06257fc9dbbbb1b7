//! The Docker Engine API as data: what travels, in which version, under which path.
//!
//! Owns the bodies of requests and answers (with Go's rules for omitted fields), the route table, version negotiation,
//! filters, query values, the framing of log and exec streams, the texts that the server makes ("Up 2 seconds"), and the
//! plain facts ([`container::Container`], [`image::Image`], …) that those answers are made from.
//!
//! Must never: read a clock, a socket or a file; be async; decide anything about the cluster.
#![forbid(unsafe_code)]

pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod image;
pub mod logs;
pub mod network;
pub mod progress;
pub mod registry_auth;
pub mod requests;
pub mod system;

pub use error::{ApiError, Status};
