//! The name servers of the sandboxes: started and ended as sandboxes come and go, their zones swapped as the cluster
//! changes.

use crate::engine::Engine;
use shoal_dns::{Upstream, serve};
use shoal_model::TaskId;
use shoal_model::dns::{SERVER_ADDRESS, Zone};
use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const DNS_PORT: u16 = 53;

/// The running servers.
pub(crate) struct Resolvers {
    upstream: Upstream,
    running: BTreeMap<TaskId, Running>,
}

struct Running {
    zone: watch::Sender<Arc<Zone>>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Resolvers {
    /// None yet; names outside are asked of the host's own servers.
    pub(crate) fn new() -> Self {
        Self { upstream: Upstream::new(PathBuf::from("/etc/resolv.conf")), running: BTreeMap::new() }
    }

    /// Makes what runs match `wanted`: the zone of each task whose sandbox is there, with that sandbox's name.
    pub(crate) fn sync(&mut self, engine: &Engine, wanted: BTreeMap<TaskId, (String, Zone)>) {
        self.running.retain(|task, _| wanted.contains_key(task));
        for (task, (sandbox, zone)) in wanted {
            if let Some(running) = self.running.get(&task) {
                running.zone.send_if_modified(|current| {
                    let changed = **current != zone;
                    if changed {
                        *current = Arc::new(zone);
                    }
                    changed
                });
                continue;
            }
            match self.start(engine, &sandbox, zone) {
                Ok(running) => {
                    self.running.insert(task, running);
                }
                Err(error) => tracing::warn!(%task, sandbox, error = format!("{error:#}"), "no name server"),
            }
        }
    }

    fn start(&self, engine: &Engine, sandbox: &str, zone: Zone) -> anyhow::Result<Running> {
        let path = engine.namespace_path(sandbox);
        let bind = || -> std::io::Result<_> {
            let address = (SERVER_ADDRESS, DNS_PORT);
            Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?))
        };
        let (udp, tcp) = shoal_host::in_namespace(Some(&path), bind)??;
        let (sender, receiver) = watch::channel(Arc::new(zone));
        let stop = engine.supervisor.shutdown().child_token();
        let (upstream, token, name) = (self.upstream.clone(), stop.clone(), sandbox.to_owned());
        engine.supervisor.spawn(async move {
            if let Err(error) = serve(udp, tcp, receiver, upstream, token).await {
                tracing::warn!(sandbox = name, %error, "the name server ended");
            }
        });
        Ok(Running { zone: sender, stop })
    }
}
