//! What every engine of the virtual server can do.

use crate::{Difference, Error};
use shoal_model::TaskId;
use shoal_model::lvs::{Connection, Counters, Drops, Table, VirtualServiceKey};
use std::collections::BTreeMap;

/// Counters of every real server by virtual service.
pub type LiveCounters = BTreeMap<VirtualServiceKey, BTreeMap<TaskId, Counters>>;

/// One node's virtual server. Engines differ in how they translate, not in what can be seen from outside.
pub trait VirtualServer: Send {
    /// The engine's name, such as `ebpf`.
    fn name(&self) -> &'static str;

    /// Tells whether another engine, which was there before, still carries connections of its own: from the next sync on
    /// this one leaves alone what it does not know and what does not begin. Engines that see only what another leaves
    /// them have nothing to heed.
    fn accompany(&mut self, by_another: bool);

    /// Compares `table` with what the kernel holds, repairs every difference, and returns what it found.
    ///
    /// A difference that could not be repaired (a namespace or link that is not there yet) carries the reason and does
    /// not keep the others from being repaired; call again once the node has changed.
    ///
    /// # Errors
    /// When the kernel's state cannot be read or the engine itself is broken.
    fn sync(&mut self, table: &Table) -> Result<Vec<Difference>, Error>;

    /// Compares `table` with what the kernel holds as [`sync`](Self::sync) does, and changes nothing.
    ///
    /// What could be repaired bears no reason, as if it had been.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    fn check(&mut self, table: &Table) -> Result<Vec<Difference>, Error>;

    /// Live counters per virtual service and real server, of everything the kernel holds now.
    ///
    /// A real server that went while it had connections is told for ten more minutes, with nothing but the number of
    /// those that were reset. As in `ipvsadm`, only TCP connections become active; UDP exchanges count as inactive while they last.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    fn counters(&mut self) -> Result<LiveCounters, Error>;

    /// Packets dropped so far, by reason.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    fn drops(&mut self) -> Result<Drops, Error>;

    /// The connections and exchanges of datagrams that this node balances now, sorted.
    ///
    /// A connection that was balanced at the socket lasts until it is closed; its `expires` is 0. A datagram socket that
    /// is bound to no address has none.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    fn connections(&mut self) -> Result<Vec<Connection>, Error>;
}
