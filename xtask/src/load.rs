//! `cargo xtask load`: a large load through all hosts of a lab while a service is updated again and again.

use crate::packages::{self, BUILD, LAB, TEST};
use crate::steps::{self, cargo, run as run_program, step};
use anyhow::bail;

/// Arguments of `cargo xtask load`.
#[derive(clap::Args)]
pub(crate) struct LoadArguments {
    /// Requests altogether
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
}

/// Runs the end-to-end test of rolling updates with as many requests, and shows what it counted.
pub(crate) fn run(arguments: &LoadArguments) -> anyhow::Result<()> {
    if !packages::is_root() {
        bail!("the lab makes network namespaces and loads BPF programs: run as root");
    }
    packages::ensure(&[BUILD, LAB, TEST])?;
    step("build", || {
        cargo(&["build", "--workspace", "--all-targets"])?;
        crate::test::build_whoami()
    })?;
    let requests = arguments.requests.to_string();
    step(&format!("rolling updates under {requests} requests"), || {
        let test = ["test", "--package=shoal-e2e", "--test=rolling_update", "--", "--nocapture"];
        run_program(steps::cargo_command(&test).env("SHOAL_LOAD_REQUESTS", &requests))
    })
}
