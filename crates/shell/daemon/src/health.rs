//! Health probes: programs run in containers now and then, whose exit status says whether the container is well.

use crate::engine::Engine;
use crate::exec;
use crate::pipe::{self, PipeReader};
use anyhow::Context;
use futures::StreamExt;
use shoal_model::TaskId;
use shoal_model::assignment::{ContainerState, Health, ObservedContainer};
use shoal_model::spec::HealthConfig;
use shoal_runtime::{ExecSpec, ExecStdio};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// What the probes of this daemon's containers say. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Probes {
    watched: Arc<Mutex<BTreeMap<String, Watched>>>,
}

struct Watched {
    /// Absent for containers that are not probed.
    health: Option<Health>,
    stop: CancellationToken,
}

/// A probe with Docker's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Probe {
    args: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Probe {
    /// `None` if nothing is to be probed.
    fn new(config: &HealthConfig) -> Option<Self> {
        let args = match config.test.split_first()? {
            (kind, command) if kind == "CMD" && !command.is_empty() => command.to_vec(),
            (kind, [command]) if kind == "CMD-SHELL" => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()]
            }
            _ => return None,
        };
        let or = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default,
        };
        Some(Self {
            args,
            interval: or(config.interval, INTERVAL),
            timeout: or(config.timeout, TIMEOUT),
            start_period: or(config.start_period, Duration::ZERO),
            start_interval: or(config.start_interval, START_INTERVAL),
            retries: u32::try_from(config.retries).ok().filter(|n| *n > 0).unwrap_or(RETRIES),
        })
    }
}

impl Probes {
    /// A container's health, where it is probed.
    pub(crate) fn of(&self, container: &str) -> Option<Health> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).get(container)?.health
    }

    /// Probes what runs, and nothing else.
    pub(crate) fn sync(&self, engine: &Arc<Engine>, containers: &BTreeMap<TaskId, ObservedContainer>) {
        let running = |c: &&ObservedContainer| matches!(c.state, ContainerState::Running { .. });
        let ids: Vec<&String> = containers.values().filter(running).map(|c| &c.id).collect();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|id, seen| {
            let runs = ids.contains(&id);
            if !runs {
                seen.stop.cancel();
            }
            runs
        });
        for id in ids {
            if watched.contains_key(id) {
                continue;
            }
            let probe =
                engine.records.read(id).ok().flatten().and_then(|r| Probe::new(r.healthcheck.as_ref()?));
            let stop = engine.supervisor.shutdown().child_token();
            watched.insert(
                id.clone(),
                Watched { health: probe.is_some().then_some(Health::Starting), stop: stop.clone() },
            );
            if let Some(probe) = probe {
                engine.supervisor.spawn(self.clone().watch(engine.clone(), id.clone(), probe, stop));
            }
        }
    }

    async fn watch(self, engine: Arc<Engine>, id: String, probe: Probe, stop: CancellationToken) {
        let begin = Instant::now();
        let mut failures = 0;
        loop {
            let starting = begin.elapsed() < probe.start_period && self.of(&id) == Some(Health::Starting);
            let pause = if starting { probe.start_interval } else { probe.interval };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            let passed = match timeout(probe.timeout, run(&engine, &id, &probe.args)).await {
                Ok(Ok(code)) => code == 0,
                Ok(Err(error)) => {
                    tracing::debug!(container = id, error = format!("{error:#}"), "probe");
                    false
                }
                Err(_too_slow) => false,
            };
            failures = if passed { 0 } else { failures + 1 };
            let health = match passed {
                true => Health::Healthy,
                // Failures while it starts up do not count.
                false if begin.elapsed() < probe.start_period => continue,
                false if failures >= probe.retries => Health::Unhealthy,
                false => continue,
            };
            self.note(&engine, &id, health);
        }
    }

    fn note(&self, engine: &Engine, id: &str, health: Health) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = watched.get_mut(id) else { return };
        if seen.health.replace(health) != Some(health) {
            tracing::info!(container = id, ?health, "health");
            engine.wake.notify_one();
        }
    }
}

/// Runs a probe to its end; dropping this kills it.
async fn run(engine: &Arc<Engine>, id: &str, args: &[String]) -> anyhow::Result<i32> {
    let spec = ExecSpec { args: args.to_vec(), ..ExecSpec::default() };
    let (runtime, container) = (engine.runtime.clone(), id.to_owned());
    let process =
        tokio::task::spawn_blocking(move || runtime.exec(&container, &spec)).await?.context("probe")?;
    let _kill = KillOnDrop(&process.control);
    let ended = exec::exit_code(&process.control);
    let ExecStdio::Pipes { stdout, stderr, .. } = process.stdio else { return Ok(ended.await) };
    // What it prints must be taken from it, or it would wait for ever.
    let drain = |fd| anyhow::Ok(pipe::chunks(PipeReader::new(fd)?).for_each(|_| async {}));
    let (out, err) = (drain(stdout)?, drain(stderr)?);
    let (code, (), ()) = tokio::join!(ended, out, err);
    Ok(code)
}

/// A probe that takes too long is killed.
struct KillOnDrop<'a>(&'a shoal_runtime::ExecControl);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.signal(nix::libc::SIGKILL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(test: &[&str]) -> HealthConfig {
        HealthConfig { test: test.iter().map(|t| (*t).to_owned()).collect(), ..HealthConfig::default() }
    }

    #[test]
    fn probes_are_read_as_docker_does() {
        assert_eq!(Probe::new(&config(&["NONE"])), None);
        assert_eq!(Probe::new(&config(&[])), None);
        assert_eq!(Probe::new(&config(&["CMD"])), None);
        let shell = Probe::new(&config(&["CMD-SHELL", "true || false"])).unwrap();
        assert_eq!(shell.args, ["/bin/sh", "-c", "true || false"]);
        assert_eq!((shell.interval, shell.retries), (INTERVAL, RETRIES));
        let mut asked = config(&["CMD", "a", "b"]);
        asked.interval = 2_000_000_000;
        asked.retries = 1;
        let probe = Probe::new(&asked).unwrap();
        assert_eq!((probe.args.len(), probe.interval, probe.retries), (2, Duration::from_secs(2), 1));
    }
}
