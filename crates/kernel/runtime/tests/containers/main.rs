//! Real containers from a busybox root file system. Needs root.
//!
//! The binary has a main of its own because it also is the shim that its tests start, and the daemon that one of them
//! kills.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adoption;
mod commands;
mod files;
mod fixture;
mod identity;
mod leftovers;
mod limits;
mod measurements;
mod sessions;
mod streams;

use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::UnwindSafe;

fn main() {
    let mut words = std::env::args_os().skip(1);
    match words.next().as_deref().and_then(|w| w.to_str()) {
        Some("shim") => {
            std::process::exit(shoal_runtime::shim_main(words.collect()));
        }
        Some("creator") => adoption::create_and_wait(words),
        _ => {
            let groups = [
                commands::TESTS,
                streams::TESTS,
                sessions::TESTS,
                limits::TESTS,
                identity::TESTS,
                files::TESTS,
                adoption::TESTS,
                leftovers::TESTS,
            ];
            let trials = groups.concat().into_iter().map(|(name, test)| Trial::test(name, move || run(test)));
            let measured = measurements::TESTS.iter().map(|(name, test)| {
                let test = *test;
                Trial::test(*name, move || run(test)).with_ignored_flag(true)
            });
            let trials = trials.chain(measured);
            libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
        }
    }
}

/// A test and its name.
type Test = (&'static str, fn());

fn run(test: impl FnOnce() + UnwindSafe) -> Result<(), Failed> {
    std::panic::catch_unwind(test).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Failed::from(text.unwrap_or_else(|| "it panicked".to_owned()))
    })
}

/// Names each test function of a file once.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
