//! The `shoal` program: the daemon, the lab, and the looks inside.

mod lvs;
mod socket;
mod trace;
mod verify;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Docker Swarm's services, overlay networks and routing mesh in one program.
///
/// Run `shoal daemon` on every host and drive it with the docker command:
/// `export DOCKER_HOST=unix:///run/shoal/docker.sock; docker swarm init`.
/// To try it on one machine: `shoal lab up --nodes 3`.
#[derive(Parser)]
#[command(name = "shoal", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run this host's daemon: the Docker API on a unix socket, containers, networks, and the managers' part
    Daemon(shoal_daemon::DaemonArguments),
    /// Make several hosts out of namespaces on this machine, and play with them
    Lab(shoal_lab::LabArgs),
    /// Show this host's virtual services and their real servers, as `ipvsadm -Ln` does
    Lvs(lvs::LvsArguments),
    /// Follow a connection and name each hop, or the one that would drop it
    Trace(trace::TraceArguments),
    /// Look at the networks of all nodes
    #[command(subcommand)]
    Net(verify::NetCommand),
}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    // The shim must run before anything else has been started in this process.
    if arguments.get(1).is_some_and(|word| word == "shim") {
        let code = shoal_runtime::shim_main(arguments.split_off(2));
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shoal: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let called = arguments.first().map(Path::new).and_then(|p| p.file_name()).map(OsString::from);
    let mut words: Vec<String> = arguments.into_iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let mut ignored = Vec::new();
    if called.is_some_and(|name| name == "dockerd") {
        let (kept, set_aside) = shoal_daemon::part_dockerd_flags(words.split_off(1));
        words = ["shoal".to_owned(), "daemon".to_owned()].into_iter().chain(kept).collect();
        ignored = set_aside;
    }
    match Arguments::parse_from(words).command {
        Command::Daemon(arguments) => shoal_daemon::run(arguments, &ignored)?,
        Command::Lab(arguments) => shoal_lab::run(arguments)?,
        Command::Lvs(arguments) => lvs::run(&arguments)?,
        Command::Trace(arguments) => return trace::run(&arguments),
        Command::Net(command) => return Ok(verify::run(&command)),
    }
    Ok(ExitCode::SUCCESS)
}
