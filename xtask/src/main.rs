//! The project's own commands: `cargo xtask demo` and `cargo xtask test` are the two a newcomer needs.
//!
//! Owns the order of steps and what must be installed for them. Must never contain product logic.
#![forbid(unsafe_code)]

mod demo;
mod layers;
mod load;
mod packages;
mod steps;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Shoal's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, bring up a three-host swarm on this machine, play a session through the docker command, show the mesh
    Demo(demo::DemoArguments),
    /// Every check and test: format, lints, layers, unit and kernel tests, simulation, end to end
    Test(test::TestArguments),
    /// A million requests through every host of a lab while a service is updated again and again; none may fail
    Load(load::LoadArguments),
    /// Check the directions between the crates and the fences around third-party libraries
    Layers,
    /// Format, and apply what clippy can mend by itself
    Fix,
    /// Simulate whole clusters from seeds and scripts
    Sim {
        /// Arguments of the simulator, such as `--seed 42` or `--scenario FILE`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Layers => layers::check(),
        Command::Fix => {
            steps::cargo(&["fmt", "--all"])?;
            steps::cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--fix",
                "--allow-dirty",
                "--allow-staged",
            ])
        }
        Command::Sim { arguments } => {
            let mut all = vec!["run", "--quiet", "--package", "shoal-sim", "--"];
            all.extend(arguments.iter().map(String::as_str));
            steps::cargo(&all)
        }
    }
}
