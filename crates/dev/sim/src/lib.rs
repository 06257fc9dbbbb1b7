//! A whole cluster in one thread: the managers' brain, the replicated log, fake hosts and a fake network under a virtual
//! clock, driven by a seed or by a script.
//!
//! Owns the world around `shoal-store` and `shoal-control` in which their invariants are checked: one file each under
//! [`invariants`]. [`mutants`] puts bugs back to see that the invariants notice.
//!
//! Must never: be shipped; read a real clock; draw a number that the seed does not decide.
#![forbid(unsafe_code)]

pub mod brain;
pub mod chaos;
pub mod host;
pub mod invariants;
pub mod links;
pub mod managers;
pub mod mutants;
pub mod script;
pub mod trace;
pub mod world;
