//! Labs of this program: it is the `shoal lab` under test, the daemon that the lab's hosts run, and the tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake_daemon;
mod lab;
mod tests;

use clap::Parser;
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

#[derive(Parser)]
struct Lab {
    #[command(flatten)]
    args: shoal_lab::LabArgs,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    match arguments.nth(1).as_deref() {
        Some("daemon") => fake_daemon::run(&arguments.collect::<Vec<_>>()),
        Some("lab") => {
            let args = Lab::parse_from(std::iter::once("lab".to_owned()).chain(arguments)).args;
            match shoal_lab::run(args) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            let trial = |(name, test): (&str, fn())| {
                Trial::test(name, move || {
                    test();
                    Ok(())
                })
            };
            let trials = tests::ALL.iter().copied().map(trial).collect();
            libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
        }
    }
}
