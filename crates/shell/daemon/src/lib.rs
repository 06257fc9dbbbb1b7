//! The daemon: wires the pure decisions, the kernel's shells and the sockets together.
//!
//! Owns the process: configuration, start and end, the two loops (the node's and the leader's), the membership in a
//! swarm, and what the API can have done. It is the only shell that sees the kernel crates.
//!
//! Must never: decide what pure code can decide; change the kernel other than through `shoal-host`, `shoal-lvs` and
//! `shoal-runtime`; spawn outside `supervise.rs` (API answers excepted, which end with their client).
#![forbid(unsafe_code)]

mod addresses;
mod backend;
mod balancer;
mod config;
mod counting;
mod deviations;
mod disk;
mod dispatcher;
mod dockerd_flags;
mod engine;
mod entropy;
mod events;
mod exec;
mod foreign_hands;
mod health;
mod holdings;
mod inbound;
mod leader;
mod listeners;
mod local_facts;
mod lock;
mod logs;
mod machine;
mod manager;
mod member;
mod membership;
mod node_loop;
mod node_streams;
mod own_node;
mod pipe;
mod questions;
mod readiness;
mod record;
mod resolvers;
mod sentinel;
mod service_logs;
mod steps;
mod supervise;
mod tallies;
mod task_container;
mod tracing_connections;
mod transport;
mod usage;
mod verify;
mod view;
mod virtual_server;

pub use config::{ConfigError, DEFAULT_HOST, DaemonArguments};
pub use dockerd_flags::part as part_dockerd_flags;

use crate::backend::Backend;
use crate::config::Config;
use crate::engine::Engine;
use crate::membership::Swarm;
use crate::supervise::Supervisor;
use anyhow::Context;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Parts get this long to end.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// Threads of the async runtime: input and output need no more, and every thread costs memory.
const WORKER_THREADS: usize = 2;

/// Runs the daemon until SIGINT or SIGTERM. `ignored` are dockerd's flags that were set aside.
///
/// # Errors
/// Whatever keeps the daemon from starting, or the failure of one of its parts.
pub fn run(arguments: DaemonArguments, ignored: &[String]) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!(
        "{level},h2=warn,hyper=warn,tower=warn,openraft=off",
        level = arguments.log_level
    ))
    .with_context(|| format!("--log-level {:?}", arguments.log_level))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    for flag in ignored {
        tracing::warn!(flag, "Shoal has no use for this flag of dockerd's and goes on without it");
    }
    let config = arguments.into_config()?;
    let _lock = lock::take(&config)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?;
    let ended = runtime.block_on(serve(config));
    // Blocking work that is still on its way (reading a log that is followed) does not hold the end up.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let supervisor = Supervisor::new();
    let engine = Arc::new(Engine::open(config.clone(), supervisor.clone())?);
    let swarm = Arc::new(Swarm::new(engine.clone()));
    swarm.resume().await?;
    let backend = Arc::new(Backend { engine: engine.clone(), swarm: swarm.clone(), execs: Arc::default() });
    for socket in &config.sockets {
        let listener = bind(socket)?;
        let serving = shoal_api::serve(listener, backend.clone(), supervisor.shutdown().clone());
        supervisor.run("api", async move { Ok(serving.await?) });
        tracing::info!(socket = %socket.display(), "the API listens");
    }
    if let Some(address) = config.metrics_addr {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("--metrics-addr {address}"))?;
        let serving = shoal_api::serve_metrics(listener, backend, supervisor.shutdown().clone());
        supervisor.run("metrics", async move {
            serving.await;
            Ok(())
        });
        tracing::info!(%address, "the metrics listen");
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("SIGINT"),
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        () = supervisor.shutdown().cancelled() => {
            swarm.end().await;
            supervisor.wait(END_DEADLINE).await;
            anyhow::bail!("a part of the daemon failed; the log above says which");
        }
    }
    swarm.end().await;
    supervisor.shutdown().cancel();
    supervisor.wait(END_DEADLINE).await;
    for socket in &config.sockets {
        drop(std::fs::remove_file(socket));
    }
    tracing::info!("ended; containers and their traffic go on");
    Ok(())
}

/// Listens on a socket that only root and its group may use, as Docker's; a leftover of a dead daemon is replaced.
fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            anyhow::bail!("{} is in use by another daemon", path.display());
        }
        std::fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
