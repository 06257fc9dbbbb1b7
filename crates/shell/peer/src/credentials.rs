//! What this machine shows and believes in TLS, replaced while everything runs when its certificate is renewed.

use crate::{Identity, PeerError, provider};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;
use tokio::sync::watch;

/// HTTP/2 in the words of TLS's protocol negotiation.
const ALPN: &[u8] = b"h2";

/// What this machine shows and believes in TLS. Clones share it.
#[derive(Clone)]
pub struct Credentials {
    current: Arc<watch::Sender<Arc<Material>>>,
}

/// One identity, ready for both ends of a connection.
pub(crate) struct Material {
    pub(crate) identity: Arc<Identity>,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Credentials {
    /// Starts with this identity.
    pub fn new(identity: Identity) -> Result<Self, PeerError> {
        Ok(Self { current: Arc::new(watch::Sender::new(Arc::new(Material::new(identity)?))) })
    }

    /// Goes on with another identity. Connections that stand keep the old one.
    pub fn swap(&self, identity: Identity) -> Result<(), PeerError> {
        self.current.send_replace(Arc::new(Material::new(identity)?));
        Ok(())
    }

    /// The identity in use.
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.current.borrow().identity)
    }

    pub(crate) fn material(&self) -> Arc<Material> {
        Arc::clone(&self.current.borrow())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Material>> {
        self.current.subscribe()
    }
}

impl Material {
    fn new(identity: Identity) -> Result<Self, PeerError> {
        Ok(Self {
            server: Arc::new(server_config(&identity)?),
            client: Arc::new(client_config(&identity)?),
            identity: Arc::new(identity),
        })
    }
}

fn roots(identity: &Identity) -> Result<Arc<RootCertStore>, PeerError> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.root_der()?).map_err(PeerError::Setup)?;
    Ok(Arc::new(roots))
}

/// A certificate is asked of every client but not insisted on, because a machine that joins has none: which call needs
/// one is decided call by call.
fn server_config(identity: &Identity) -> Result<ServerConfig, PeerError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(identity)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| PeerError::certificate("root certificate", e))?;
    // The root goes along, so that a machine that joins can compare it with its token.
    let chain = vec![identity.leaf()?, identity.root_der()?];
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(PeerError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, identity.private_key()?)
        .map_err(PeerError::Setup)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed connection would carry the certificate of the first one, role and all.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(identity: &Identity) -> Result<ClientConfig, PeerError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(PeerError::Setup)?
        .with_root_certificates(roots(identity)?)
        .with_client_auth_cert(vec![identity.leaf()?], identity.private_key()?)
        .map_err(PeerError::Setup)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For a machine that has no certificate yet: the verifier decides whom to believe.
pub(crate) fn joining_client_config(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, PeerError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(PeerError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
