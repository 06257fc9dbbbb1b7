//! The door: a user's request becomes a stored object, or is refused in Docker's words.
//!
//! Every function looks at the state as it is now; what two requests might do to each other meanwhile is caught again
//! by [`shoal_store::apply`], whose refusals turn into [`AdmitError`] by `From`.

mod balancing;
mod cluster;
mod container;
mod data;
mod error;
mod name;
mod network;
mod node;
mod ports;
mod service;
mod task_template;

pub use cluster::update_cluster;
pub use data::{create_config, create_secret, remove_config, remove_secret, update_config, update_secret};
pub use error::{AdmitError, Code};
pub use network::{create_network, remove_network};
pub use node::{remove_node, update_node};
pub use service::{create_service, remove_service, update_service};

pub(crate) use network::overlap;
pub(crate) use ports::publishes_on_the_mesh;
