//! The control loop from state in to changes out.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod admit;
mod allocate;
mod assign;
mod bench;
mod fixed_point;
mod liveness;
mod orchestrate;
mod reap;
mod schedule;
mod size;
mod update;
mod withdraw;
