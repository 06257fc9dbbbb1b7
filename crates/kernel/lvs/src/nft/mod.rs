//! The engine that translates with the packet filter, for kernels that refuse BPF programs.
//!
//! One table of its own in the host's namespace and in every sandbox, of flat maps: a service is an element and never a
//! chain. Connection tracking remembers the connections. While this process is away, traffic goes on.

mod balance;
mod entry;
mod expressions;
mod kernel;
mod plan;
mod ruleset;
mod sandbox;
mod services;
mod tracking;

use crate::difference::{Difference, Found, Subject};
use crate::ebpf::namespace::Places;
use crate::ebpf::sock_diag;
use crate::{Error, LiveCounters, VirtualServer};
use kernel::Held;
use ruleset::Ruleset;
use services::Index;
use shoal_model::lvs::{Connection, Counters, Drops, Table};
use shoal_model::netns::NamespaceName;
use shoal_netlink::{Socket, netfilter, protocols::NETLINK_NETFILTER};
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::{fs, io};

/// Where the engine works.
#[derive(Debug, Clone)]
pub struct NftConfig {
    /// Directory with the node's named namespaces, `<exec-root>/netns`.
    pub netns_root: PathBuf,
    /// The host's namespace as a file; `None` is the calling thread's.
    pub host_namespace: Option<PathBuf>,
    /// Name of the engine's table in every namespace. No other daemon in the host's namespace may have the same.
    pub table: String,
    /// The bridge of the host that leads to the ingress sandbox and to the containers.
    pub gateway_bridge: String,
}

impl NftConfig {
    /// The usual bridge.
    pub fn new(netns_root: impl Into<PathBuf>, table: impl Into<String>) -> Self {
        Self {
            netns_root: netns_root.into(),
            host_namespace: None,
            table: table.into(),
            gateway_bridge: "docker_gwbridge".to_owned(),
        }
    }
}

/// The virtual server in the packet filter.
#[derive(Debug)]
pub struct Nft {
    config: NftConfig,
    places: Places,
    /// The table of the last sync, for reading counters; empty before the first.
    declared: Table,
    /// Whether connections to real servers that are no more have been looked for since the start.
    looked_for_orphans: bool,
}

impl Nft {
    /// Makes sure that the packet filter can be spoken with; takes over what an earlier process left.
    ///
    /// # Errors
    /// When a namespace cannot be entered or the kernel has no packet filter.
    pub fn open(config: &NftConfig) -> Result<Self, Error> {
        let places = Places::new(config.host_namespace.as_deref(), &config.netns_root)?;
        let engine =
            Self { config: config.clone(), places, declared: Table::default(), looked_for_orphans: false };
        engine.read(&NamespaceName::Host)?;
        Ok(engine)
    }

    /// Takes the engine's table from every namespace: nothing is left. Does nothing where nothing is.
    ///
    /// # Errors
    /// When something cannot be removed; call again.
    pub fn remove(config: &NftConfig) -> Result<(), Error> {
        let engine = Self::open(config)?;
        for namespace in engine.namespaces(&Table::default())? {
            engine.settle(&namespace, &Ruleset::default(), &Table::default())?;
        }
        Ok(())
    }

    /// Whether the host's namespace holds the engine's table, of this process or an earlier one.
    ///
    /// # Errors
    /// When the packet filter cannot be read.
    pub fn exists(config: &NftConfig) -> Result<bool, Error> {
        Ok(Self::open(config)?.read(&NamespaceName::Host)?.exists)
    }

    /// To be called instead of [`sync`](VirtualServer::sync) once another engine has taken this one's place: takes no
    /// new connections and keeps the old. Tells how many still go on; at 0, [`remove`](Self::remove) disturbs nobody.
    ///
    /// # Errors
    /// When the kernel's state cannot be read or changed.
    pub fn retire(&mut self, table: &Table) -> Result<usize, Error> {
        self.everywhere(table, |namespace, wanted| {
            let mut wanted = wanted.clone();
            wanted.elements.retain(|(set, _), _| !leads_to_service(set));
            self.settle(namespace, &wanted, table)
        })?;
        self.declared = table.clone();
        Ok(self.connections()?.iter().filter(|connection| connection.state != "CLOSE").count())
    }

    /// Every namespace that may hold a table, or should.
    fn namespaces(&self, table: &Table) -> Result<BTreeSet<NamespaceName>, Error> {
        let mut names: BTreeSet<NamespaceName> = table.sandboxes.keys().cloned().collect();
        names.extend(table.mesh.iter().flat_map(|m| m.tasks.values()).map(|task| task.sandbox.clone()));
        names.insert(NamespaceName::Host);
        let file_error = |source| Error::File {
            what: "listing the namespaces",
            path: self.config.netns_root.clone(),
            source,
        };
        match fs::read_dir(&self.config.netns_root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries.map_err(file_error)? {
                    let name = entry.map_err(file_error)?.file_name();
                    names.extend(name.into_string().ok().map(NamespaceName::Named));
                }
            }
        }
        Ok(names)
    }

    fn ruleset(&self, namespace: &NamespaceName, table: &Table) -> Ruleset {
        match namespace {
            NamespaceName::Host => entry::ruleset(table, &self.config.gateway_bridge),
            NamespaceName::Named(_) => sandbox::ruleset(namespace, table),
        }
    }

    /// Goes through every namespace.
    fn everywhere(
        &self,
        table: &Table,
        visit: impl Fn(&NamespaceName, &Ruleset) -> Result<Vec<Difference>, Error>,
    ) -> Result<Vec<Difference>, Error> {
        let mut found = Vec::new();
        for namespace in self.namespaces(table)? {
            let wanted = self.ruleset(&namespace, table);
            match visit(&namespace, &wanted) {
                Ok(differences) => found.extend(differences),
                // What nothing is declared for may be going, or be no namespace at all.
                Err(_) if wanted.is_empty() => {}
                Err(error) if namespace == NamespaceName::Host => return Err(error),
                Err(error) => found.push(Difference {
                    subject: Subject::Sandbox(namespace.to_string()),
                    found: Found::Missing,
                    unrepaired: Some(error.reason()),
                }),
            }
        }
        Ok(found)
    }

    /// Speaks with the packet filter of a namespace.
    fn speak<T: Send>(
        &self,
        namespace: &NamespaceName,
        talk: impl FnOnce(&mut Socket) -> Result<T, shoal_netlink::Error> + Send,
    ) -> Result<T, Error> {
        let failed = |source| Error::Netlink { what: format!("the packet filter of {namespace}"), source };
        let talked = self.places.within(namespace, || {
            Ok(Socket::open(NETLINK_NETFILTER).and_then(|mut socket| talk(&mut socket)))
        });
        talked.map_err(|e| Error::system(format!("entering namespace {namespace}"), e))?.map_err(failed)
    }

    fn kernel_table(&self) -> kernel::Table<'_> {
        kernel::Table { name: &self.config.table }
    }

    fn read(&self, namespace: &NamespaceName) -> Result<Held, Error> {
        self.speak(namespace, |socket| self.kernel_table().read(socket))
    }

    /// What one namespace lacks; changes nothing.
    fn compare(&self, namespace: &NamespaceName, wanted: &Ruleset) -> Result<Vec<Difference>, Error> {
        let held = self.read(namespace)?;
        Ok(plan::plan(&self.kernel_table(), namespace, wanted, &held).differences)
    }

    /// Brings one namespace up to date.
    fn settle(
        &self,
        namespace: &NamespaceName,
        wanted: &Ruleset,
        table: &Table,
    ) -> Result<Vec<Difference>, Error> {
        let kernel_table = self.kernel_table();
        let index = Index::new(table, namespace);
        let look = !self.looked_for_orphans && !wanted.is_empty();
        self.speak(namespace, |socket| {
            let held = kernel_table.read(socket)?;
            let plan = plan::plan(&kernel_table, namespace, wanted, &held);
            if !plan.requests.is_empty() {
                let mut requests = vec![netfilter::begin()];
                requests.extend(plan.requests);
                socket.transaction(&requests, &netfilter::end())?;
            }
            if look || !plan.given_up.is_empty() {
                forget_orphans(socket, &index, &plan.given_up)?;
            }
            Ok(plan.differences)
        })
    }
}

/// Whether a set's elements make new connections be translated, or refused.
fn leads_to_service(set: &str) -> bool {
    set.ends_with("-services") || sandbox::refuses(set)
}

/// Ends the connections to those who are no real servers any more. A client in this namespace is told at once; one
/// elsewhere when it says something: its packet belongs to no connection then and is answered with a reset by whoever
/// gets it. Datagrams of unconnected sockets move to another real server.
fn forget_orphans(
    socket: &mut Socket,
    index: &Index<'_>,
    given_up: &BTreeSet<IpAddr>,
) -> Result<(), shoal_netlink::Error> {
    let mut orphans = tracking::translated(socket)?;
    orphans.retain(|tracked| index.is_orphan(tracked, given_up));
    if orphans.is_empty() {
        return Ok(());
    }
    let ends: HashSet<_> =
        orphans.iter().map(|tracked| (tracked.protocol, tracked.client, tracked.asked)).collect();
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    sock_diag::destroy(|s| ends.contains(&(s.protocol, plain(s.local), plain(s.remote))))
        .map_err(shoal_netlink::Error::Socket)?;
    // After that: what the sockets say at their end is not to be taken for new connections.
    for orphan in &orphans {
        tracking::forget(socket, orphan)?;
    }
    Ok(())
}

impl VirtualServer for Nft {
    /// The other engine takes its packets before this one sees them.
    fn accompany(&mut self, _by_another: bool) {}

    fn name(&self) -> &'static str {
        "nft"
    }

    fn sync(&mut self, table: &Table) -> Result<Vec<Difference>, Error> {
        let found = self.everywhere(table, |namespace, wanted| self.settle(namespace, wanted, table))?;
        self.looked_for_orphans = true;
        self.declared = table.clone();
        Ok(found)
    }

    fn check(&mut self, table: &Table) -> Result<Vec<Difference>, Error> {
        self.everywhere(table, |namespace, wanted| self.compare(namespace, wanted))
    }

    fn drops(&mut self) -> Result<Drops, Error> {
        let held = self.read(&NamespaceName::Host)?;
        let rules = entry::DROPPING.iter().filter_map(|chain| held.chains.get(*chain));
        let not_allowed = rules.flat_map(|chain| &chain.rules).map(|rule| rule.packets).sum();
        Ok(Drops { not_allowed, ..Drops::default() })
    }

    fn connections(&mut self) -> Result<Vec<Connection>, Error> {
        let mut known = BTreeSet::new();
        for namespace in self.namespaces(&self.declared)? {
            let index = Index::new(&self.declared, &namespace);
            if self.ruleset(&namespace, &self.declared).is_empty() {
                continue;
            }
            // A sandbox that has gone has no connections.
            let Ok(tracked) = self.speak(&namespace, tracking::translated) else { continue };
            known.extend(tracked.iter().filter_map(|one| index.describe(one)));
        }
        Ok(known.into_iter().collect())
    }

    fn counters(&mut self) -> Result<LiveCounters, Error> {
        let table = &self.declared;
        let mut all = LiveCounters::new();
        for (key, service) in &table.services {
            let servers = service.real_servers.iter().map(|s| (s.task.clone(), Counters::default()));
            all.insert(key.clone(), servers.collect());
        }
        for namespace in self.namespaces(table)? {
            let wanted = self.ruleset(&namespace, table);
            if wanted.is_empty() {
                continue;
            }
            let index = Index::new(table, &namespace);
            let seen = self.speak(&namespace, |socket| {
                Ok((self.kernel_table().read(socket)?, tracking::translated(socket)?))
            });
            // A sandbox that has gone counts nothing.
            let Ok((held, tracked)) = seen else { continue };
            for (place, element) in &held.elements {
                let Some(Subject::RealServer(key, task)) = wanted.elements.get(place).map(|e| &e.subject)
                else {
                    continue;
                };
                if let Some(counters) = all.get_mut(key).and_then(|servers| servers.get_mut(task)) {
                    counters.connections += element.packets;
                }
            }
            for connection in &tracked {
                let Some((key, task)) = index.owner(connection) else { continue };
                if let Some(counters) = all.get_mut(key).and_then(|servers| servers.get_mut(task)) {
                    match connection.tcp_state {
                        Some(tracking::ESTABLISHED) => counters.active += 1,
                        _ => counters.inactive += 1,
                    }
                }
            }
        }
        Ok(all)
    }
}
