//! Numbers rather than verdicts: run with `--run-ignored only --no-capture`, best in release mode.

use crate::fixture::{Host, finish, slurp};
use shoal_runtime::ContainerSpec;
use std::time::{Duration, Instant};

crate::tests![start_exec_and_removal_latency_and_memory];

const ROUNDS: usize = 20;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn timed(times: &mut Vec<Duration>, step: impl FnOnce()) {
    let begun = Instant::now();
    step();
    times.push(begun.elapsed());
}

fn start_exec_and_removal_latency_and_memory() {
    let host = Host::new();
    let mut all: [Vec<Duration>; 4] = Default::default();
    let mut specs: Vec<ContainerSpec> = (0..=ROUNDS).map(|_| host.spec("sleep 1000")).collect();
    // The first one also makes the sealed copy.
    let first = specs.remove(0);
    host.start(&first);
    for spec in &specs {
        let [create, start, exec, remove] = &mut all;
        timed(create, || host.runtime.create(spec).unwrap());
        timed(start, || host.runtime.start(&spec.id).unwrap());
        timed(exec, || assert_eq!(finish(host.exec(spec, "true")).2, 0));
        host.runtime.signal(&spec.id, libc::SIGKILL).unwrap();
        host.wait(spec);
        timed(remove, || host.runtime.remove(&spec.id).unwrap());
    }
    for (name, times) in ["create", "start", "exec true", "remove"].into_iter().zip(all) {
        println!("{name}: median of {ROUNDS} {:?}", median(times));
    }
    let pid = host.info(&first).pid.unwrap();
    let status = slurp(format!("/proc/{pid}/status"));
    let shim = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned();
    // The sealed copy's pages (RssShmem) are shared by all shims of a daemon.
    for line in slurp(format!("/proc/{shim}/status"))
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("Rss"))
    {
        println!("shim {line}");
    }
}
