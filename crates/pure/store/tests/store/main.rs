//! The store as its users see it.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod apply;
mod lookup;
mod objects;
mod properties;
