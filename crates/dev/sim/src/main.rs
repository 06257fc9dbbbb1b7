//! The simulation from the command line.

use anyhow::{Context, Result, bail};
use clap::Parser;
use shoal_sim::brain::{Brain, Production};
use shoal_sim::mutants::MUTANTS;
use shoal_sim::{chaos, script};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A whole cluster in one thread: by seed, or by script.
#[derive(Parser)]
#[command(name = "shoal-sim")]
struct Arguments {
    /// Runs so many seeds.
    #[arg(long, value_name = "COUNT")]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Runs one seed and prints what happened.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Plays a script and compares its transcript with the one recorded beside it.
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// Records the transcripts instead of comparing them.
    #[arg(long, requires = "scenario")]
    bless: bool,
    /// Runs the mutant whose name holds this instead of the production code; `list` shows their names.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.mutant.as_deref() == Some("list") {
        for mutant in MUTANTS {
            println!("{}", mutant.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let brain = brain(arguments.mutant.as_deref())?;
    let mut failures = 0;
    for file in &arguments.scenario {
        failures += u32::from(!scenario(brain, file, arguments.bless)?);
    }
    if let Some(seed) = arguments.seed {
        failures += u32::from(!run_seed(brain, seed, true));
    }
    if let Some(seeds) = arguments.seeds {
        for seed in (arguments.from..).take(usize::try_from(seeds)?) {
            failures += u32::from(!run_seed(brain, seed, false));
        }
        println!("{seeds} seeds, {failures} failures");
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type MakeBrain = fn() -> Box<dyn Brain>;

fn brain(mutant: Option<&str>) -> Result<MakeBrain> {
    let Some(name) = mutant else { return Ok(|| Box::new(Production)) };
    let found = MUTANTS.iter().find(|mutant| mutant.name.contains(name));
    Ok(found.with_context(|| format!("no mutant's name holds {name:?}"))?.brain)
}

fn run_seed(brain: MakeBrain, seed: u64, print: bool) -> bool {
    let outcome = chaos::run(brain(), seed, print);
    for line in &outcome.trace.lines {
        println!("{line}");
    }
    match outcome.broken {
        None => true,
        Some(broken) => {
            println!("seed {seed}: {broken}");
            println!("to see what happened: shoal-sim --seed {seed}");
            false
        }
    }
}

/// Plays a script; false when the transcript is not the recorded one.
fn scenario(brain: MakeBrain, file: &Path, bless: bool) -> Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let transcript = script::play(brain, &text)?;
    let recorded = file.with_extension("out");
    if bless {
        std::fs::write(&recorded, &transcript)
            .with_context(|| format!("cannot write {}", recorded.display()))?;
        return Ok(true);
    }
    match std::fs::read_to_string(&recorded) {
        Ok(expected) if expected == transcript => Ok(true),
        Ok(_) => {
            println!("{transcript}");
            println!("{} differs; --bless records the transcript above", recorded.display());
            Ok(false)
        }
        Err(_) => bail!("{} is missing; --bless records it", recorded.display()),
    }
}
