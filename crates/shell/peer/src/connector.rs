//! Connections to managers, one each, made when needed and again when broken.

use crate::credentials::joining_client_config;
use crate::join::PinnedRoot;
use crate::{Credentials, JoinToken, PeerError};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Managers' certificates carry their role as a host name: this is how a client insists on a manager.
const MANAGER_NAME: &str = "swarm-manager";
/// TCP and TLS together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// A connection that has been silent for this long is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// And given up if this much longer nothing comes.
const KEEP_ALIVE_DEADLINE: Duration = Duration::from_secs(4);

/// Connections to managers. Clones share them.
#[derive(Clone)]
pub struct Connector {
    credentials: Credentials,
    channels: Arc<Mutex<Channels>>,
}

#[derive(Default)]
struct Channels {
    /// Valid while this is what [`Credentials`] hold.
    made_with: Option<Arc<ClientConfig>>,
    by_address: HashMap<String, Channel>,
}

impl Connector {
    /// Connections that show and believe what `credentials` hold.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, channels: Arc::default() }
    }

    /// What the connections show and believe.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The connection to the manager at `address:port`. It is made by the first call over it. After a renewal of the
    /// certificate it is a new one; calls that run keep the old one.
    pub(crate) fn channel(&self, addr: &str) -> Result<Channel, PeerError> {
        let config = Arc::clone(&self.credentials.material().client);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if !channels.made_with.as_ref().is_some_and(|made| Arc::ptr_eq(made, &config)) {
            channels.by_address.clear();
            channels.made_with = Some(Arc::clone(&config));
        }
        if let Some(channel) = channels.by_address.get(addr) {
            return Ok(channel.clone());
        }
        let channel = lazy_channel(addr, config)?;
        channels.by_address.insert(addr.to_owned(), channel.clone());
        Ok(channel)
    }

    /// A connection of its own that is up when this returns, so that what is wrong is known.
    pub(crate) async fn connect(&self, addr: &str) -> Result<Channel, PeerError> {
        connect(addr, Arc::clone(&self.credentials.material().client)).await
    }
}

/// A connection without a certificate of this machine, to a manager whose root has the digest that the token tells.
pub(crate) async fn connect_with_token(addr: &str, token: &JoinToken) -> Result<Channel, PeerError> {
    let verifier = Arc::new(PinnedRoot::new(token.root_digest()));
    connect(addr, Arc::new(joining_client_config(verifier)?)).await
}

fn endpoint(addr: &str) -> Result<Endpoint, PeerError> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(|e| PeerError::Unreachable {
        addr: addr.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, e),
    })?;
    Ok(endpoint
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_DEADLINE)
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true))
}

fn lazy_channel(addr: &str, config: Arc<ClientConfig>) -> Result<Channel, PeerError> {
    let to = addr.to_owned();
    Ok(endpoint(addr)?.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let (to, config) = (to.clone(), Arc::clone(&config));
        async move { dial(&to, config).await.map(TokioIo::new) }
    })))
}

async fn connect(addr: &str, config: Arc<ClientConfig>) -> Result<Channel, PeerError> {
    let mut ready = Some(dial(addr, config).await?);
    let once = tower::service_fn(move |_: Uri| {
        let stream = ready.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(stream.map(TokioIo::new))
    });
    let broken = |e: tonic::transport::Error| PeerError::Unreachable {
        addr: addr.to_owned(),
        source: io::Error::new(io::ErrorKind::ConnectionAborted, e),
    };
    // The future is large; it would make those of all callers large.
    let connecting = Box::pin(async { endpoint(addr)?.connect_with_connector(once).await.map_err(broken) });
    within(addr, connecting).await
}

async fn dial(addr: &str, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, PeerError> {
    within(addr, async {
        let unreachable = |source| PeerError::Unreachable { addr: addr.to_owned(), source };
        let stream = TcpStream::connect(addr).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let name = ServerName::try_from(MANAGER_NAME)
            .map_err(|e| PeerError::certificate("host name of managers", e))?;
        let connector = TlsConnector::from(config);
        connector.connect(name, stream).await.map_err(|source| tls_error(addr, source))
    })
    .await
}

fn tls_error(addr: &str, source: io::Error) -> PeerError {
    if let Some(expected) = PinnedRoot::mismatch_in(&source) {
        return PeerError::WrongRoot { expected };
    }
    let addr = addr.to_owned();
    let distrust = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some();
    if distrust { PeerError::Tls { addr, source } } else { PeerError::Unreachable { addr, source } }
}

async fn within<T>(addr: &str, work: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
    match tokio::time::timeout(CONNECT_DEADLINE, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(PeerError::TimedOut { addr: addr.to_owned() }),
    }
}
