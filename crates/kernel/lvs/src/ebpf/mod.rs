//! The eBPF engine.
//!
//! Everything that matters lives in the kernel and is pinned in a private bpffs: maps, and what is attached. This
//! process only compares and repairs; while it is away, traffic goes on.

mod abi;
mod attachments;
mod bpffs;
mod btf;
mod clsact;
mod connections;
mod counting;
mod entries;
mod flows;
mod idle;
mod map;
mod mesh;
pub(crate) mod namespace;
mod object;
mod pins;
mod program;
mod resets;
mod retire;
mod sandboxes;
mod services;
pub(crate) mod sock_diag;
mod syscall;
mod upgrade;

use crate::{Difference, Error, LiveCounters, VirtualServer};
use attachments::{Attacher, Means};
use bpffs::PinRoot;
use entries::Mode;
pub use idle::IdleLimits;
use map::Maps;
use namespace::{Places, Survey};
use object::Programs;
use pins::MapPins;
use services::Held;
use shoal_model::NetworkId;
use shoal_model::lvs::{Connection, Drops, Table};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How programs are attached to links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcAttachment {
    /// TCX links where the kernel has them (6.6), else filters.
    #[default]
    Auto,
    /// TCX links.
    Tcx,
    /// Filters of a `clsact` queueing discipline.
    Clsact,
}

/// Where the engine keeps its parts, and how large they are.
#[derive(Debug, Clone)]
pub struct EbpfConfig {
    /// Directory for the private bpffs that holds what must outlive the daemon, `<exec-root>/bpf`.
    pub pin_root: PathBuf,
    /// Directory with the node's named namespaces, `<exec-root>/netns`.
    pub netns_root: PathBuf,
    /// The host's namespace as a file; `None` is the calling thread's.
    pub host_namespace: Option<PathBuf>,
    /// Flows that are remembered at most, each way; the least recently used give way. A quarter of them is for those
    /// that their client has not confirmed yet. Applies to new maps only.
    pub flow_entries: u32,
    /// How long they are remembered without a packet.
    pub idle: IdleLimits,
    /// How programs are attached to links.
    pub attachment: TcAttachment,
}

impl EbpfConfig {
    /// The usual sizes, below an exec-root.
    pub fn new(pin_root: impl Into<PathBuf>, netns_root: impl Into<PathBuf>) -> Self {
        Self {
            pin_root: pin_root.into(),
            netns_root: netns_root.into(),
            host_namespace: None,
            flow_entries: 131_072,
            idle: IdleLimits::default(),
            attachment: TcAttachment::Auto,
        }
    }

    fn places(&self) -> Result<Places, Error> {
        Places::new(self.host_namespace.as_deref(), &self.netns_root)
    }
}

/// The virtual server in eBPF.
#[derive(Debug)]
pub struct Ebpf {
    places: Places,
    pins: PinRoot,
    maps: Maps,
    map_pins: MapPins,
    programs: Programs,
    means: Means,
    idle: IdleLimits,
    forgetting: flows::Forgetting,
    accompanied: bool,
}

impl Ebpf {
    /// Loads the programs, and takes over the maps and attached programs of an earlier process.
    ///
    /// # Errors
    /// When the kernel refuses the programs (see [`probe`]), or `pin_root` cannot be used.
    pub fn open(config: &EbpfConfig) -> Result<Self, Error> {
        let places = config.places()?;
        let pins = PinRoot::open(&config.pin_root)?;
        let mut programs = Programs::load(Some(&pins.maps()), config.flow_entries, &config.idle)?;
        if upgrade::share_maps(&pins)? {
            programs = Programs::load(Some(&pins.maps()), config.flow_entries, &config.idle)?;
        }
        upgrade::carry_over(&pins)?;
        let maps = Maps::open(&pins.maps())?;
        let map_pins = MapPins::open(&pins.maps())?;
        let means = match config.attachment {
            TcAttachment::Tcx => Means::Tcx,
            TcAttachment::Clsact => Means::Clsact,
            TcAttachment::Auto if attachments::has_tcx(&programs)? => Means::Tcx,
            TcAttachment::Auto => Means::Clsact,
        };
        let (idle, forgetting) = (config.idle, flows::Forgetting::default());
        let accompanied = false;
        let engine = Self { places, pins, maps, map_pins, programs, means, idle, forgetting, accompanied };
        engine.attacher(Mode::Repair).take_over()?;
        Ok(engine)
    }

    /// Detaches and unpins everything and unmounts the bpffs: nothing is left. Does nothing where nothing is.
    ///
    /// # Errors
    /// When something cannot be removed; call again.
    pub fn remove(config: &EbpfConfig) -> Result<(), Error> {
        let Some(pins) = PinRoot::existing(&config.pin_root)? else { return Ok(()) };
        let places = config.places()?;
        for version in pins.versions()? {
            attachments::detach_all(&places, &version.join("attached"))?;
            bpffs::remove_version(&version)?;
        }
        pins.unmount()
    }

    /// Whether an engine works below this directory, of this process or an earlier one.
    ///
    /// # Errors
    /// When the directory cannot be looked into.
    pub fn exists(config: &EbpfConfig) -> Result<bool, Error> {
        Ok(PinRoot::existing(&config.pin_root)?.is_some())
    }

    /// To be called instead of [`sync`](VirtualServer::sync) once another engine has taken this one's place: takes no
    /// new connections and keeps the old. Tells how many still go on; at 0, [`remove`](Self::remove) disturbs nobody.
    ///
    /// # Errors
    /// When the kernel's state cannot be read or changed.
    pub fn retire(&mut self) -> Result<usize, Error> {
        retire::retire(&self.maps, &self.idle)
    }

    fn attacher(&self, mode: Mode) -> Attacher<'_> {
        Attacher { pins: &self.pins, places: &self.places, programs: &self.programs, means: self.means, mode }
    }

    /// Compares everything with the table, and makes the kernel hold it.
    fn settle(&self, table: &Table, mode: Mode) -> Result<Vec<Difference>, Error> {
        let mut found = Vec::new();
        let survey = self.survey(table)?;
        if mode == Mode::Repair {
            self.pins.restore()?;
        }
        self.map_pins.settle(&self.pins.maps(), mode, &mut found)?;
        if mode == Mode::Repair {
            resets::at_tasks(&self.maps, &self.places, table.mesh.as_ref())?;
        }
        let networks = self.services(table, mode, &mut found)?;
        sandboxes::settle_sandboxes(&self.maps, table, &networks, &survey, mode, &mut found)?;
        mesh::settle_mesh(&self.maps, table, &survey, self.accompanied, mode, &mut found)?;
        if mode == Mode::Repair {
            self.succeed(&mut found)?;
        }
        self.attacher(mode).settle(&attachments::spots(table.mesh.as_ref()), &survey, &mut found)?;
        Ok(found)
    }

    /// Returns the numbers of the declared networks.
    fn services(
        &self,
        table: &Table,
        mode: Mode,
        found: &mut Vec<Difference>,
    ) -> Result<BTreeMap<NetworkId, u32>, Error> {
        let plan = services::plan(table, &Held::read(&self.maps)?);
        if mode == Mode::Repair {
            for step in &plan.steps {
                services::act(&self.maps, step)?;
            }
            resets::of_servers(&self.maps, &self.places, &plan.removed)?;
        }
        found.extend(plan.differences);
        Ok(plan.networks)
    }

    /// Takes the place of a daemon of another version, which has served until now.
    fn succeed(&self, found: &mut Vec<Difference>) -> Result<(), Error> {
        for version in self.pins.outdated()? {
            found.extend(upgrade::left_behind(&self.pins, &version)?);
            upgrade::carry_over_flows(&self.pins)?;
            self.attacher(Mode::Repair).succeed(&version)?;
            attachments::detach_all(&self.places, &version.join("attached"))?;
            bpffs::remove_version(&version)?;
        }
        Ok(())
    }

    fn survey(&self, table: &Table) -> Result<Survey, Error> {
        let mut wanted = attachments::links_by_namespace(&attachments::spots(table.mesh.as_ref()));
        for name in sandboxes::namespaces(table) {
            wanted.entry(name).or_default();
        }
        self.places.survey(wanted).map_err(|e| Error::system("looking into the namespaces", e))
    }
}

impl VirtualServer for Ebpf {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn accompany(&mut self, by_another: bool) {
        self.accompanied = by_another;
    }

    fn sync(&mut self, table: &Table) -> Result<Vec<Difference>, Error> {
        let found = self.settle(table, Mode::Repair)?;
        self.forgetting.when_due(&self.maps, &self.idle)?;
        Ok(found)
    }

    fn check(&mut self, table: &Table) -> Result<Vec<Difference>, Error> {
        self.settle(table, Mode::Check)
    }

    fn counters(&mut self) -> Result<LiveCounters, Error> {
        counting::read(&self.maps, &self.idle)
    }

    fn drops(&mut self) -> Result<Drops, Error> {
        counting::drops(&self.maps)
    }

    fn connections(&mut self) -> Result<Vec<Connection>, Error> {
        connections::list(&self.maps, &self.places, &self.idle)
    }
}

/// Whether this kernel can run the engine: loads the programs, and lets go of them again.
///
/// # Errors
/// Tells what is missing.
pub fn probe() -> Result<(), Error> {
    let unsupported = |what: &str, source: Error| Error::Unsupported {
        what: what.to_owned(),
        source: Some(Box::new(source)),
    };
    attachments::root_cgroup()?;
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.ends_with("\tbpf")) {
        return Err(Error::Unsupported {
            what: "the kernel has no bpf file system".to_owned(),
            source: None,
        });
    }
    namespace::own_cookie().map_err(|e| {
        unsupported(
            "namespaces have no cookies (SO_NETNS_COOKIE, Linux 5.14)",
            Error::system("reading it", e),
        )
    })?;
    Programs::load(None, 1024, &IdleLimits::default())
        .map_err(|e| unsupported("the kernel refuses the programs", e))?;
    Ok(())
}
