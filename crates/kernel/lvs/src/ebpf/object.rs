//! Loads the compiled object: makes or takes over the maps, and loads the programs.

use super::idle::IdleLimits;
use super::program::Program;
use super::syscall;
use crate::Error;
use aya::{EbpfLoader, include_bytes_aligned};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shoal_lvs.o"));

/// Maps by name; what is pinned under the name is taken over. `connected_sockets` and `fragments` are the programs' own.
pub(crate) const MAPS: [&str; 29] = [
    "vip_services",
    "port_services",
    "slots",
    "servers",
    "sandboxes",
    "node_addresses",
    "published_on",
    "allowed",
    "mesh_tasks",
    "task_ports",
    "mesh_settings",
    "cursors",
    "tallies",
    "drops",
    "mesh_traffic",
    "affinities",
    "balanced_sockets",
    "entry_flows",
    "entry_openings",
    "task_flows",
    "task_openings",
    "clashes",
    "fragments",
    "datagram_choices",
    "datagram_peers",
    "connected_sockets",
    "networks",
    "gone_servers",
    "next_numbers",
];

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Loaded {
    fd: OwnedFd,
    /// Its number in the kernel.
    pub(crate) id: u32,
}

impl AsFd for Loaded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// All programs of the object.
#[derive(Debug)]
pub(crate) struct Programs(BTreeMap<Program, Loaded>);

impl Programs {
    /// Loads the object, its maps pinned below `maps` (or nowhere, to try).
    pub(crate) fn load(maps: Option<&Path>, flow_entries: u32, idle: &IdleLimits) -> Result<Self, Error> {
        // A refused connect can only name its reason since 5.18. Tried rather than asked for: distributions backport.
        Self::load_as(maps, flow_entries, idle, true)
            .or_else(|_| Self::load_as(maps, flow_entries, idle, false))
    }

    /// The program.
    pub(crate) fn get(&self, program: Program) -> Result<&Loaded, Error> {
        self.0.get(&program).ok_or_else(|| Error::Load(format!("no program {}", program.name()).into()))
    }

    fn load_as(
        maps: Option<&Path>,
        flow_entries: u32,
        idle: &IdleLimits,
        can_set_retval: bool,
    ) -> Result<Self, Error> {
        let can_set_retval = u32::from(can_set_retval);
        let limits = idle.by_name();
        let mut loader = EbpfLoader::new();
        loader.btf(None).override_global("can_set_retval", &can_set_retval, true);
        for (name, nanoseconds) in &limits {
            loader.override_global(name, nanoseconds, true);
        }
        let openings = flow_entries / 4;
        for name in ["entry_openings", "task_openings"] {
            loader.map_max_entries(name, openings);
        }
        for name in ["entry_flows", "task_flows"] {
            loader.map_max_entries(name, flow_entries - openings);
        }
        for name in ["affinities", "datagram_choices", "datagram_peers"] {
            loader.map_max_entries(name, flow_entries);
        }
        for name in ["clashes", "fragments"] {
            loader.map_max_entries(name, (flow_entries / 8).max(64));
        }
        if let Some(directory) = maps {
            for name in MAPS {
                loader.map_pin_path(name, directory.join(name));
            }
        }
        let mut object = loader.load(OBJECT).map_err(|e| Error::Load(e.into()))?;
        let mut programs = BTreeMap::new();
        for program in Program::all() {
            programs.insert(program, load_program(&mut object, program.name())?);
        }
        Ok(Self(programs))
    }
}

fn load_program(object: &mut aya::Ebpf, name: &str) -> Result<Loaded, Error> {
    use aya::programs::Program as Kind;
    let failed = |e: aya::programs::ProgramError| Error::Load(e.into());
    let program = object.program_mut(name).ok_or_else(|| Error::Load(format!("no program {name}").into()))?;
    match program {
        Kind::SchedClassifier(classifier) => classifier.load().map_err(failed)?,
        Kind::CgroupSockAddr(hook) => hook.load().map_err(failed)?,
        Kind::CgroupSock(hook) => hook.load().map_err(failed)?,
        other => {
            let what = format!("{name} is an unexpected {:?}", other.prog_type());
            return Err(Error::Load(what.into()));
        }
    }
    let copied = |source: io::Error| Error::system(format!("keeping the program {name}"), source);
    let fd = program.fd().map_err(failed)?.as_fd().try_clone_to_owned().map_err(copied)?;
    let id = syscall::program_id(fd.as_fd()).map_err(copied)?;
    Ok(Loaded { fd, id })
}
