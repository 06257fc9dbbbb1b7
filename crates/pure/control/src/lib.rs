//! The cluster's brain: what must change, as a pure function of what is.
//!
//! Owns every decision of the managers. [`admit`] turns users' requests into stored objects; the control loop compares
//! what was asked with what is and answers with a plan: which nodes are down, which tasks to make, move and remove,
//! which addresses and ports they get and which node they run on; `assign` says what one node should hold.
//!
//! Must never: read a clock or a random source (both come in as arguments), a file or a socket; write anywhere; log
//! (reasons are part of the plan); decide by an event, when the state can be read whole.
#![forbid(unsafe_code)]

pub mod admit;
mod allocate;
mod assign;
mod bootstrap;
mod connection_path;
mod connections;
mod draft;
mod ids;
mod liveness;
mod orchestrate;
mod placement;
mod plan;
mod reap;
mod schedule;
mod service_status;
mod tick;
mod withdraw;

pub use assign::assign;
pub use bootstrap::{Founding, bootstrap, ingress_network};
pub use connection_path::{connection_path, task_places};
pub use connections::ClusterConnections;
pub use liveness::{Liveness, Suspicion, heartbeat_period};
pub use orchestrate::is_up_to_date;
pub use plan::{AllocationTrouble, Leaving, Plan, Report};
pub use service_status::{ServiceStatus, service_status};
pub use tick::tick;
