//! The server with a daemon behind it that holds everything in memory.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

mod docker_command;
mod fake;
mod http;
