//! The Docker Engine API over HTTP, on a unix socket or TCP.
//!
//! Owns: routing, version negotiation, parsing of requests, the making of answers, streams (logs, events, progress) and
//! hijacked connections (exec). One file a resource.
//!
//! Must never: know how anything is done. All knowledge comes through [`Backend`], all bodies from `shoal_wire`.

pub mod backend;

pub use backend::Backend;
pub use shoal_wire::{ApiError, Status};
