//! What every engine of the virtual server must do, on a small swarm of network namespaces.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

mod east_west;
mod ebpf;
mod lab;
mod mesh;
mod netns;
mod own_processes;
mod talk;
mod upkeep;
