//! What every engine of the virtual server must do, on a small swarm of network namespaces.
//!
//! The cases are written once. Each engine has a file that includes all of them, so that they are run as
//! `<engine>::<file>::<case>`, and that holds the cases of what only this engine leaves in the kernel.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must panic")]
#![allow(clippy::duplicate_mod, reason = "the same cases are run over every engine")]

mod ebpf;
mod exceptions;
mod lab;
mod netns;
mod nft;
mod older_map;
mod raw;
mod talk;
