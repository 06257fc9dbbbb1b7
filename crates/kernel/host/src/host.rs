//! The crate's front door.

use crate::Error;
use crate::namespace::{self, failed};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where Shoal's namespaces are and how its own things are known.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Directory of the namespace files, `<exec-root>/netns`.
    pub netns_root: PathBuf,
    /// Mark (`ifalias`) of Shoal's links in the host's namespace, `shoal:<exec-root>`.
    pub owner: String,
    /// Name of Shoal's own packet-filter table (family `inet`), for instance `shoal`.
    pub nft_table: String,
    /// File of the namespace that counts as the host's; without it, the process's own.
    pub host_netns: Option<PathBuf>,
}

/// A node's namespaces.
#[derive(Debug)]
pub struct Host {
    pub(crate) config: HostConfig,
    /// The host's namespace, held open so that it stays the same one.
    pub(crate) own: File,
}

impl Host {
    /// Prepares the directory of the namespace files and removes files in it that hold no namespace any more.
    pub fn open(config: HostConfig) -> Result<Self, Error> {
        let path = config.host_netns.as_deref().unwrap_or(Path::new("/proc/self/ns/net"));
        let own = File::open(path).map_err(failed("open namespace", path))?;
        namespace::prepare_root(&config.netns_root)?;
        namespace::sweep(&config.netns_root)?;
        Ok(Self { config, own })
    }

    /// File of a named namespace.
    pub fn namespace_path(&self, name: &str) -> PathBuf {
        self.config.netns_root.join(name)
    }

    /// Removes every namespace and their directory's mount: what an orderly end of the node's life leaves.
    pub fn dismantle(self) -> Result<(), Error> {
        namespace::dismantle_root(&self.config.netns_root)
    }
}
