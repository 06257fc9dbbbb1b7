//! The parts of one daemon, made once and shared by everything that runs in it.

use crate::balancer::Balancer;
use crate::config::Config;
use crate::events::Events;
use crate::health::Probes;
use crate::machine::Machine;
use crate::record::Records;
use crate::supervise::Supervisor;
use crate::tallies::Tallies;
use crate::view::View;
use anyhow::Context;
use shoal_host::{Host, HostConfig};
use shoal_images::{Images, Settings};
use shoal_lvs::VirtualServer;
use shoal_runtime::{Runtime, RuntimeConfig};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// The parts of one daemon.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) machine: Machine,
    /// The daemon's own id, kept in the data root.
    pub(crate) id: String,
    pub(crate) host: Host,
    pub(crate) runtime: Runtime,
    pub(crate) images: Images,
    pub(crate) records: Records,
    pub(crate) events: Events,
    pub(crate) probes: Probes,
    pub(crate) supervisor: Supervisor,
    /// Wakes the node loop. What happened is not said: the loop looks for itself.
    pub(crate) wake: Notify,
    /// What the node loop last saw.
    pub(crate) view: watch::Sender<Arc<View>>,
    /// What the node loop has done so far.
    pub(crate) tallies: Tallies,
    /// Held while the kernel is compared and repaired.
    comparing: Mutex<()>,
    pub(crate) balancer: Balancer,
}

impl Engine {
    /// Makes the directories and opens every part.
    pub(crate) fn open(config: Config, supervisor: Supervisor) -> anyhow::Result<Self> {
        for directory in [&config.data_root, &config.exec_root] {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        shoal_host::check_requirements()?;
        let machine = Machine::observe(&config)?;
        let netns_root = config.exec_root.join("netns");
        let host = Host::open(HostConfig {
            netns_root,
            owner: owner_mark(&config),
            nft_table: nft_table(&config),
            host_netns: None,
        })?;
        let runtime = Runtime::new(RuntimeConfig {
            state_root: config.exec_root.join("containers"),
            cgroup_parent: config.cgroup_parent.clone(),
            shim_executable: PathBuf::from("/proc/self/exe"),
        })?;
        let balancer = Balancer::open(&config, format!("{}_lvs", nft_table(&config)))?;
        let settings =
            Settings { insecure_registries: config.insecure_registries.clone(), ..Settings::default() };
        let images = Images::open_with(config.data_root.join("images"), settings)?;
        Ok(Self {
            id: engine_id(&config)?,
            records: Records::open(&config.data_root)?,
            events: Events::new(),
            probes: Probes::default(),
            wake: Notify::new(),
            view: watch::Sender::new(Arc::new(View::default())),
            tallies: Tallies::default(),
            comparing: Mutex::default(),
            balancer,
            config,
            machine,
            host,
            runtime,
            images,
            supervisor,
        })
    }

    /// Uses the virtual server; blocks for the time of a few system calls.
    pub(crate) fn with_virtual_server<T>(&self, use_it: impl FnOnce(&mut dyn VirtualServer) -> T) -> T {
        self.balancer.with(use_it)
    }

    /// Keeps repairs from going on while someone compares, and the other way round. Blocks for the time of a pass.
    pub(crate) fn stand_still(&self) -> MutexGuard<'_, ()> {
        self.comparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// File of a named network namespace.
    pub(crate) fn namespace_path(&self, name: &str) -> PathBuf {
        self.config.exec_root.join("netns").join(name)
    }
}

/// The mark of our links in the host's namespace.
fn owner_mark(config: &Config) -> String {
    format!("shoal:{}", config.exec_root.display())
}

/// Our own nft table: named after the exec root, so that several daemons in one namespace do not meet.
fn nft_table(config: &Config) -> String {
    let root = config.exec_root.to_string_lossy();
    if root == "/run/shoal" {
        return "shoal".to_owned();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("shoal{}", root.chars().map(plain).collect::<String>())
}

/// Docker's form of an engine id: twelve groups of four letters or digits, made once.
fn engine_id(config: &Config) -> anyhow::Result<String> {
    let path = config.data_root.join("engine-id");
    if let Ok(id) = fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let hex = crate::entropy::random_hex(24).to_uppercase();
    let id = hex.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join(":");
    fs::write(&path, &id).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(id)
}
