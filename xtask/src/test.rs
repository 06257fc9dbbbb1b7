//! `cargo xtask test`: every check, the fast ones first.

use crate::packages::{self, BUILD, LAB, TEST};
use crate::{layers, steps};
use anyhow::bail;
use steps::{cargo, step};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct TestArguments {
    /// As continuous integration runs it: nothing may be skipped
    #[arg(long, env = "CI", value_parser = clap::builder::FalseyValueParser::new())]
    ci: bool,
    /// Only the checks that need neither root nor a kernel feature
    #[arg(long, conflicts_with = "ci")]
    fast: bool,
}

/// Crates whose tests make namespaces, mounts and BPF programs.
const NEED_ROOT: &[&str] =
    &["shoal-host", "shoal-lvs", "shoal-runtime", "shoal-images", "shoal-lab", "shoal-daemon", "shoal-e2e"];

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn run(arguments: &TestArguments) -> anyhow::Result<()> {
    packages::ensure(&[BUILD])?;
    packages::ensure_nextest()?;
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("layers", layers::check)?;
    step("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("build", || {
        cargo(&["build", "--workspace", "--all-targets"])?;
        build_whoami()
    })?;
    let excluded: Vec<String> = NEED_ROOT.iter().map(|c| format!("--exclude={c}")).collect();
    let mut plain = vec!["nextest", "run", "--workspace"];
    plain.extend(excluded.iter().map(String::as_str));
    step("tests without root", || cargo(&plain))?;
    if arguments.fast {
        println!("\nNot run (--fast): the tests of {}", NEED_ROOT.join(", "));
        return Ok(());
    }
    if !packages::is_root() {
        bail!(
            "the remaining tests make network namespaces and load BPF programs: run as root, or pass --fast"
        );
    }
    packages::ensure(&[LAB, TEST])?;
    let included: Vec<String> =
        NEED_ROOT.iter().filter(|c| **c != "shoal-e2e").map(|c| format!("--package={c}")).collect();
    let mut rooted = vec!["nextest", "run"];
    rooted.extend(included.iter().map(String::as_str));
    step("tests against the kernel", || cargo(&rooted))?;
    step("end to end with the docker command", || cargo(&["nextest", "run", "--package=shoal-e2e"]))?;
    println!("\nEvery step passed.");
    println!(
        "Not run here, because this kernel or machine lacks it: real IPVS, IPsec, WireGuard (no engine uses them yet); other kernels than this one."
    );
    if arguments.ci {
        println!("CI mode: nothing was skipped.");
    }
    Ok(())
}

/// Builds the demo's web server as a static program, as an image without any library needs it.
pub(crate) fn build_whoami() -> anyhow::Result<()> {
    cargo(&[
        "rustc",
        "--quiet",
        "--package=shoal-whoami",
        "--bin=whoami",
        "--target-dir=target/static",
        "--",
        "-C",
        "target-feature=+crt-static",
    ])
}
