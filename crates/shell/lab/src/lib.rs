//! `shoal lab`: a whole swarm on one machine. Every host is a real `shoal daemon` in a network namespace of its own on
//! a private LAN, with its own host name, data and cgroup; power cuts, reboots and parted networks are one command.
//!
//! This crate owns everything under `/run/shoal-lab/<name>`, the cgroups `/shoal-lab/<name>` and nothing else: it makes
//! no link in the machine's main network namespace, and what it made it can take away again from what it finds there,
//! even after a crash. It knows a daemon only by its arguments and its API, never by its insides.

mod api;
mod cgroup;
mod commands;
mod cuts;
mod daemon;
mod elf;
mod enter;
mod image;
mod lan;
mod mounts;
mod place;
mod power;
mod process;
mod record;
mod swarm;
mod up;

pub use commands::{Command, LabArgs, UpArgs, run};

/// What a daemon answers to a GET, as JSON.
///
/// # Errors
/// If it cannot be asked, or in its own words if it refuses.
pub fn get(socket: &std::path::Path, path: &str) -> anyhow::Result<serde_json::Value> {
    api::get(socket, path)?.json()
}
