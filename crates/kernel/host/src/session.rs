//! The namespaces entered during one call, each with its sockets. A session belongs to a thread of its own, which
//! moves from namespace to namespace; everything is let go at its end, since an open socket keeps a namespace alive.

use crate::firewall;
use crate::links::{self, Seen};
use crate::namespace;
use crate::netlink::Socket;
use crate::{Host, Reason};
use shoal_model::netns::NamespaceName;
use shoal_netlink::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

pub(crate) struct Session<'h> {
    pub(crate) host: &'h Host,
    entered: BTreeMap<NamespaceName, Entered>,
    /// Where the thread is now.
    current: Option<NamespaceName>,
}

/// A namespace with its sockets.
pub(crate) struct Entered {
    pub(crate) file: File,
    pub(crate) route: Socket,
    pub(crate) filter: Socket,
    /// Numbers of links that were asked for.
    indexes: BTreeMap<String, u32>,
    /// Bridges whose ports are kept apart, once asked for.
    isolated: Option<BTreeSet<String>>,
}

impl<'h> Session<'h> {
    pub(crate) fn new(host: &'h Host) -> Self {
        Self { host, entered: BTreeMap::new(), current: None }
    }

    /// The namespace, entered if it was not yet. The thread may be elsewhere.
    pub(crate) fn namespace(&mut self, name: &NamespaceName) -> Result<&mut Entered, Reason> {
        if !self.entered.contains_key(name) {
            let file = self.open(name)?;
            namespace::enter(&file).map_err(Reason::NoNamespace)?;
            self.current = Some(name.clone());
            let entered = Entered {
                file,
                route: Socket::open(NETLINK_ROUTE)?,
                filter: Socket::open(NETLINK_NETFILTER)?,
                indexes: BTreeMap::new(),
                isolated: None,
            };
            self.entered.insert(name.clone(), entered);
        }
        self.entered
            .get_mut(name)
            .ok_or(Reason::Impossible("a namespace was lost while it was being entered"))
    }

    /// Moves the thread itself into the namespace: needed for what is not asked over a socket.
    pub(crate) fn stand_in(&mut self, name: &NamespaceName) -> Result<(), Reason> {
        self.namespace(name)?;
        if self.current.as_ref() != Some(name)
            && let Some(entered) = self.entered.get(name)
        {
            namespace::enter(&entered.file).map_err(Reason::NoNamespace)?;
            self.current = Some(name.clone());
        }
        Ok(())
    }

    /// Lets go of a namespace, so that it can end. The thread itself must not stay in it either.
    pub(crate) fn leave(&mut self, name: &NamespaceName) -> Result<(), Reason> {
        if self.entered.remove(name).is_some() && self.current.as_ref() == Some(name) {
            self.stand_in(&NamespaceName::Host)?;
        }
        Ok(())
    }

    fn open(&self, name: &NamespaceName) -> Result<File, Reason> {
        match name {
            NamespaceName::Host => self.host.own.try_clone().map_err(Reason::NoNamespace),
            NamespaceName::Named(text) => {
                let path = self.host.namespace_path(checked(text)?);
                if !namespace::is_namespace(&path) {
                    return Err(Reason::NoNamespace(std::io::ErrorKind::NotFound.into()));
                }
                File::open(path).map_err(Reason::NoNamespace)
            }
        }
    }
}

impl Entered {
    /// Number of a link.
    pub(crate) fn index_of(&mut self, link: &str) -> Result<u32, Reason> {
        if let Some(index) = self.indexes.get(link) {
            return Ok(*index);
        }
        let seen: Seen =
            links::find(&mut self.route, link)?.ok_or_else(|| Reason::NoLink(link.to_owned()))?;
        self.indexes.insert(link.to_owned(), seen.index);
        Ok(seen.index)
    }

    /// Forgets link numbers, after links have come or gone.
    pub(crate) fn forget_indexes(&mut self) {
        self.indexes.clear();
    }

    /// Whether the packet filter says that this bridge's ports are kept apart.
    pub(crate) fn keeps_apart(&mut self, table: &str, bridge: &str) -> Result<bool, Reason> {
        if self.isolated.is_none() {
            self.isolated = Some(firewall::isolated_bridges(&firewall::read(&mut self.filter, table)?));
        }
        Ok(self.isolated.as_ref().is_some_and(|bridges| bridges.contains(bridge)))
    }

    /// Forgets which bridges' ports are kept apart, after the packet filter has changed.
    pub(crate) fn forget_isolated(&mut self) {
        self.isolated = None;
    }
}

/// The name, if it can be a file's in the directory of namespaces.
pub(crate) fn checked(name: &str) -> Result<&str, Reason> {
    let plain =
        Path::new(name).components().count() == 1 && !name.contains('/') && name != "." && name != "..";
    if plain { Ok(name) } else { Err(Reason::Impossible("a namespace's name must be a plain file name")) }
}
