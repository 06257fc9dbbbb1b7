//! Typed handles of the pinned maps.

use super::abi::{
    Address, AllowKey, Balanced, Clash, ClashKey, DatagramChoice, DatagramKey, EntryFlow, EntryKey,
    GoneServer, Mesh, MeshTask, NetworkText, Plain, PortKey, Sandbox, Server, Service, ServiceAddress,
    SlotKey, Tally, TaskFlow, TaskKey, TaskPort, TaskPortKey, Traffic, VipKey,
};
use super::syscall;
use crate::Error;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A map in the kernel.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    name: &'static str,
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Map<K, V> {
    /// Opens the map pinned below `directory`.
    fn open(directory: &Path, name: &'static str) -> Result<Self, Error> {
        let failed = |source| Error::system(format!("opening the map {name}"), source);
        let fd = syscall::open_pinned(&directory.join(name)).map_err(failed)?;
        let (key, value) = syscall::map_sizes(fd.as_fd()).map_err(failed)?;
        if (key as usize, value as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(failed(io::Error::other(format!("it holds {key} -> {value} bytes"))));
        }
        Ok(Self { name, fd, types: PhantomData })
    }

    fn failed(&self, doing: &str, source: io::Error) -> Error {
        Error::system(format!("{doing} the map {}", self.name), source)
    }

    /// The value under `key`.
    pub(crate) fn get(&self, key: &K) -> Result<Option<V>, Error> {
        syscall::lookup(self.fd.as_fd(), key).map_err(|e| self.failed("reading", e))
    }

    /// Adds or replaces.
    pub(crate) fn put(&self, key: &K, value: &V) -> Result<(), Error> {
        syscall::update(self.fd.as_fd(), key, value).map_err(|e| self.failed("writing", e))
    }

    /// Removes, if it is there.
    pub(crate) fn remove(&self, key: &K) -> Result<(), Error> {
        syscall::delete(self.fd.as_fd(), key).map(drop).map_err(|e| self.failed("deleting from", e))
    }

    /// All keys, asked for one by one: for maps that cannot be read in batches by position.
    pub(crate) fn keys(&self) -> Result<Vec<K>, Error> {
        let mut keys: Vec<K> = Vec::new();
        loop {
            let next = syscall::next_key(self.fd.as_fd(), keys.last());
            match next.map_err(|e| self.failed("reading the keys of", e))? {
                Some(key) => keys.push(key),
                None => return Ok(keys),
            }
        }
    }

    /// Everything in it.
    pub(crate) fn dump(&self) -> Result<Vec<(K, V)>, Error> {
        syscall::dump(self.fd.as_fd()).map_err(|e| self.failed("reading all of", e))
    }
}

/// A map of counters of which every processor has its own.
#[derive(Debug)]
pub(crate) struct ProcessorMap<V> {
    map: Map<u32, V>,
    processors: usize,
}

impl<V: Plain> ProcessorMap<V> {
    fn open(directory: &Path, name: &'static str) -> Result<Self, Error> {
        let map = Map::open(directory, name)?;
        let failed = |source| Error::system(format!("opening the map {name}"), source);
        Ok(Self { map, processors: possible_processors().map_err(failed)? })
    }

    /// What each processor has under `key`; nothing where none has.
    pub(crate) fn of_each(&self, key: u32) -> Result<Vec<V>, Error> {
        let values = syscall::lookup_of_each(self.map.fd.as_fd(), key, self.processors);
        values.map_err(|e| self.map.failed("reading", e))
    }

    /// All keys.
    pub(crate) fn keys(&self) -> Result<Vec<u32>, Error> {
        self.map.keys()
    }

    /// Removes, if it is there.
    pub(crate) fn remove(&self, key: u32) -> Result<(), Error> {
        self.map.remove(&key)
    }
}

/// Processors that this machine could ever have; maps have room for each.
fn possible_processors() -> io::Result<usize> {
    let ranges = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = ranges.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1).ok_or_else(|| io::Error::other(format!("no processors in {ranges:?}")))
}

macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $value:ty,)*) => {
        /// All maps that user space reads or writes.
        #[derive(Debug)]
        pub(crate) struct Maps {
            /// Packets dropped, by reason.
            pub(crate) drops: ProcessorMap<u64>,
            /// What passed through the mesh, by server.
            pub(crate) mesh_traffic: ProcessorMap<Traffic>,
            $($(#[$doc])* pub(crate) $name: Map<$key, $value>,)*
        }

        impl Maps {
            /// Opens what is pinned below `directory`.
            pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
                let drops = ProcessorMap::open(directory, "drops")?;
                let mesh_traffic = ProcessorMap::open(directory, "mesh_traffic")?;
                Ok(Self { drops, mesh_traffic, $($name: Map::open(directory, stringify!($name))?,)* })
            }
        }
    };
}

maps! {
    /// Services between tasks.
    vip_services: VipKey => Service,
    /// Services of the mesh.
    port_services: PortKey => Service,
    /// Rings: numbers of servers.
    slots: SlotKey => u32,
    /// Real servers by number.
    servers: u32 => Server,
    /// Balanced namespaces by cookie.
    sandboxes: u64 => Sandbox,
    /// The node's own addresses.
    node_addresses: Address => u32,
    /// Where those services are published that are so on some addresses only.
    published_on: ServiceAddress => u32,
    /// Who may use those services that not everyone may. Its keys are read one by one: see [`Map::keys`].
    allowed: AllowKey => u32,
    /// Local tasks on the ingress network by interface number.
    mesh_tasks: u32 => MeshTask,
    /// Their ports.
    task_ports: TaskPortKey => TaskPort,
    /// Where the mesh hooks in; one entry.
    mesh_settings: u32 => Mesh,
    /// Turns of round robin by service.
    cursors: u32 => u32,
    /// Counters by server.
    tallies: u32 => Tally,
    /// Sockets that are connected to a real server, by cookie.
    balanced_sockets: u64 => Balanced,
    /// Flows where they enter.
    entry_flows: EntryKey => EntryFlow,
    /// Those that were not confirmed by their client yet.
    entry_openings: EntryKey => EntryFlow,
    /// Flows at the tasks.
    task_flows: TaskKey => TaskFlow,
    /// Those that were not confirmed by their client yet.
    task_openings: TaskKey => TaskFlow,
    /// Flows with another client port at the task.
    clashes: ClashKey => Clash,
    /// Servers of unconnected datagram sockets.
    datagram_choices: DatagramKey => DatagramChoice,
    /// Numbers of networks.
    networks: NetworkText => u32,
    /// Real servers that went under their connections, by number.
    gone_servers: u32 => GoneServer,
    /// The next free numbers: of services, of servers, of networks.
    next_numbers: u32 => u32,
}
