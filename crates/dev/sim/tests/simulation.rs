//! Scenarios play as recorded, seeds break nothing, and every mutant is noticed.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use shoal_sim::brain::Production;
use shoal_sim::mutants::MUTANTS;
use shoal_sim::{chaos, script};
use std::path::{Path, PathBuf};

/// Seeds of which one must show a mutant.
const SEEDS_PER_MUTANT: u64 = 12;

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut scripts: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "txt")).collect();
    scripts.sort();
    scripts
}

#[test]
fn scenarios_play_as_recorded() {
    let scripts = scenarios();
    assert!(!scripts.is_empty());
    for file in scripts {
        let transcript = script::play(|| Box::new(Production), &std::fs::read_to_string(&file).unwrap());
        let transcript = transcript.unwrap_or_else(|error| panic!("{}: {error:#}", file.display()));
        let recorded = std::fs::read_to_string(file.with_extension("out")).unwrap();
        if transcript != recorded {
            let differs = transcript.lines().zip(recorded.lines()).find(|(now, then)| now != then);
            panic!("{} differs at {differs:?}; shoal-sim --scenario … --bless records it", file.display());
        }
    }
}

fn assert_sound(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let outcome = chaos::run(Box::new(Production), seed, false);
        if let Some(broken) = outcome.broken {
            panic!("seed {seed}: {broken}; shoal-sim --seed {seed} shows what happened");
        }
    }
}

#[test]
fn ten_seeds_break_nothing() {
    assert_sound(0..10);
}

#[test]
fn ten_more_seeds_break_nothing() {
    assert_sound(10..20);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let run = || chaos::run(Box::new(Production), 3, true).trace.lines;
    let lines = run();
    assert!(lines.len() > 50, "{} lines", lines.len());
    assert_eq!(lines, run());
}

#[test]
fn every_mutant_is_noticed_by_its_invariant() {
    for mutant in MUTANTS {
        let noticed = (0..SEEDS_PER_MUTANT)
            .find_map(|seed| chaos::run((mutant.brain)(), seed, false).broken.map(|broken| (seed, broken)));
        let Some((seed, broken)) = noticed else { panic!("nobody noticed: {}", mutant.name) };
        assert!(mutant.noticed_by.contains(&broken.invariant), "{} (seed {seed}): {broken}", mutant.name);
    }
}
