//! `shoal net verify`.

use crate::socket::Daemon;
use clap::{Args, Subcommand};
use shoal_model::verdict::Verdict;
use std::process::ExitCode;

/// Some kernel holds something else than what was declared.
const DIFFERENCES: u8 = 1;
/// Some node, or the daemon itself, could not be asked.
const SILENT: u8 = 2;

#[derive(Subcommand)]
pub(crate) enum NetCommand {
    /// Compare what every node's kernel holds with what the cluster declared, and change nothing
    ///
    /// Asks every node from any manager; a worker answers for itself only. The exit status is 0 if all is as declared, 1
    /// if something differs, and 2 if a node could not be asked.
    Verify(VerifyArguments),
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    daemon: Daemon,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    /// Ask no node: go by the digests in their last heartbeats
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(command: &NetCommand) -> ExitCode {
    let NetCommand::Verify(arguments) = command;
    verify(arguments).unwrap_or_else(|error| {
        eprintln!("shoal: {error:#}");
        ExitCode::from(SILENT)
    })
}

fn verify(arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let answer =
        arguments.daemon.get(if arguments.quick { "/shoal/verify?quick=1" } else { "/shoal/verify" })?;
    let verdict: Verdict = serde_json::from_value(answer.clone())?;
    if arguments.json {
        println!("{answer:#}");
    } else {
        print!("{}", shoal_wire::verify::text(&verdict));
    }
    for (hostname, reason) in verdict.silent() {
        eprintln!("shoal: node {hostname} does not answer: {reason}");
    }
    Ok(if verdict.silent().next().is_some() {
        ExitCode::from(SILENT)
    } else if verdict.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENCES)
    })
}
