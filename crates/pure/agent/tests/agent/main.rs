//! The node's brain as its users see it: assignments and observations in, declarations, repairs and steps out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deviations;
mod example;
mod fake;
mod life;
mod network;
mod random;
mod repair;
mod show;
mod table;
mod trace;
mod zone;
