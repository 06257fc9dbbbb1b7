//! What every engine of the virtual server can do.

use crate::{Difference, Error};
use shoal_model::TaskId;
use shoal_model::lvs::{Counters, Table, VirtualServiceKey};
use std::collections::BTreeMap;

/// Counters of every real server by virtual service.
pub type LiveCounters = BTreeMap<VirtualServiceKey, BTreeMap<TaskId, Counters>>;

/// One node's virtual server. Engines differ in how they translate, not in what can be seen from outside.
pub trait VirtualServer: Send {
    /// The engine's name, such as `ebpf`.
    fn name(&self) -> &'static str;

    /// Compares `table` with what the kernel holds, repairs every difference, and returns what it found.
    ///
    /// A difference that could not be repaired (a namespace or link that is not there yet) carries the reason and does
    /// not keep the others from being repaired; call again once the node has changed.
    ///
    /// # Errors
    /// When the kernel's state cannot be read or the engine itself is broken.
    fn sync(&mut self, table: &Table) -> Result<Vec<Difference>, Error>;

    /// Live counters per virtual service and real server, of everything the kernel holds now.
    ///
    /// As in `ipvsadm`, only TCP connections become active; UDP exchanges count as inactive while they last.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    fn counters(&mut self) -> Result<LiveCounters, Error>;
}
