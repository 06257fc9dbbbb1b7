//! Which servers other names are forwarded to.

use crate::resolv_conf;
use shoal_model::dns::{SERVER_ADDRESS, Zone};
use std::fs::{self, Metadata};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Port of name servers (RFC 1035, 4.2).
const DNS_PORT: u16 = 53;

/// The servers of the host, read from its resolv.conf again whenever that file changes. Cheap to clone; one may serve
/// every sandbox.
#[derive(Debug, Clone)]
pub struct Upstream {
    resolv_conf: PathBuf,
    last_read: Arc<Mutex<Option<LastRead>>>,
}

#[derive(Debug)]
struct LastRead {
    version: FileVersion,
    servers: Vec<IpAddr>,
}

/// What tells one version of a file from another: device, inode, length, seconds and nanoseconds of the last change.
type FileVersion = (u64, u64, u64, i64, i64);

impl Upstream {
    /// Forwards to the servers that the file at `resolv_conf` names, unless a zone names its own.
    pub fn new(resolv_conf: PathBuf) -> Self {
        Self { resolv_conf, last_read: Arc::default() }
    }

    /// The servers for other names of `zone`, in the order in which to ask them. Our own address is never among them:
    /// it would be this very server, asking itself for ever.
    pub(crate) fn servers(&self, zone: &Zone) -> Vec<SocketAddr> {
        let addresses =
            if zone.forward_to.is_empty() { self.host_servers() } else { zone.forward_to.clone() };
        let others =
            addresses.into_iter().filter(|address| address.to_canonical() != IpAddr::V4(SERVER_ADDRESS));
        others.map(|address| SocketAddr::new(address, DNS_PORT)).collect()
    }

    fn host_servers(&self) -> Vec<IpAddr> {
        let mut last_read = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(version) = fs::metadata(&self.resolv_conf).map(|metadata| version_of(&metadata)) else {
            *last_read = None;
            return Vec::new();
        };
        match &*last_read {
            Some(last) if last.version == version => last.servers.clone(),
            _ => {
                let servers =
                    resolv_conf::servers(&fs::read_to_string(&self.resolv_conf).unwrap_or_default());
                *last_read = Some(LastRead { version, servers: servers.clone() });
                servers
            }
        }
    }
}

fn version_of(metadata: &Metadata) -> FileVersion {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwards_to(addresses: &[&str]) -> Zone {
        Zone { forward_to: addresses.iter().map(|a| a.parse().unwrap()).collect(), ..Zone::default() }
    }

    #[test]
    fn a_zone_with_servers_of_its_own_does_not_ask_the_hosts() {
        let upstream = Upstream::new("/nonexistent/resolv.conf".into());
        assert_eq!(upstream.servers(&forwards_to(&["192.0.2.7"])), ["192.0.2.7:53".parse().unwrap()]);
    }

    #[test]
    fn the_own_address_is_never_forwarded_to() {
        let upstream = Upstream::new("/nonexistent/resolv.conf".into());
        assert_eq!(upstream.servers(&forwards_to(&["127.0.0.11", "::ffff:127.0.0.11"])), []);
    }

    #[test]
    fn the_hosts_file_is_read_again_when_it_changes_and_may_be_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let upstream = Upstream::new(path.clone());
        assert_eq!(upstream.servers(&Zone::default()), []);
        for address in ["192.0.2.1", "192.0.2.2"] {
            let next = directory.path().join("next");
            fs::write(&next, format!("nameserver {address}\nnameserver 127.0.0.11\n")).unwrap();
            fs::rename(&next, &path).unwrap();
            for _ in 0..2 {
                assert_eq!(upstream.servers(&Zone::default()), [format!("{address}:53").parse().unwrap()]);
            }
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(upstream.servers(&Zone::default()), []);
    }
}
