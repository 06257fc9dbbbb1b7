//! The replicated truth: what the cluster holds, how it changes, and nothing else.
//!
//! Owns [`State`] (every stored object, with indexes), [`Change`] (the only ways to alter it), and [`apply`], the one
//! function by which every manager, leader or not, moves from one log entry to the next. All checks that keep the state
//! sound are inside [`apply`]: versions, unique names, VNIs, published ports and addresses, and task states that only
//! move forward.
//!
//! Must never: read a clock, a random source, a file or a socket; decide anything (that is `shoal-control`); depend on
//! anything but the state and the entry, or managers would drift apart.
#![forbid(unsafe_code)]

mod apply;
mod change;
mod claim;
mod digest;
mod lookup;
mod rejected;
mod snapshot;
mod state;

pub use apply::{apply, try_change};
pub use change::{Batch, Change, Entry, Kind, Object, ObjectKey};
pub use claim::Claim;
pub use lookup::LookupError;
pub use rejected::Rejected;
pub use snapshot::SnapshotError;
pub use state::State;
