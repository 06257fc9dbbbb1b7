//! What the server must be told and must be able to have done: one trait a resource, all of them together [`Backend`].
//!
//! Arguments are resolved: where a client sent a name or a prefix, the server has looked the id up before it asks.
//! Every method returns [`ApiError`] with the words that the client is to read.

mod containers;
mod images;
mod networks;
mod swarm;
mod system;

pub use containers::{Containers, ExecFrame, ExecIo, StateChange};
pub use images::Images;
pub use networks::Networks;
pub use swarm::Swarm;
pub use system::System;

use futures::stream::BoxStream;
use shoal_wire::ApiError;

/// A stream of items that may break off with an error.
pub type Stream<T> = BoxStream<'static, Result<T, ApiError>>;

/// Bytes of an archive on their way.
pub type Bytes = Stream<bytes::Bytes>;

/// Everything the server needs.
pub trait Backend: System + Swarm + Containers + Images + Networks {}

impl<T: System + Swarm + Containers + Images + Networks> Backend for T {}
