//! The Docker Engine API over HTTP, on a unix socket or TCP.
//!
//! Owns: routing, version negotiation, parsing of requests, the making of answers, streams (logs, events, progress) and
//! hijacked connections (exec). One file a resource.
//!
//! Must never: know how anything is done. All knowledge comes through [`Backend`], all bodies from `shoal_wire`.
#![forbid(unsafe_code)]

pub mod backend;
mod call;
mod configs;
mod containers;
mod dispatch;
mod exec;
mod hijack;
mod images;
mod logs;
mod lookup;
mod metrics;
mod networks;
mod nodes;
mod objects;
mod reply;
mod secrets;
mod server;
mod services;
mod stats;
mod swarm;
mod system;
mod tasks;
mod volumes;

pub use backend::Backend;
pub use metrics::{Metrics, serve_metrics};
pub use server::{Error, serve, serve_tcp};
pub use shoal_wire::{ApiError, Status};
