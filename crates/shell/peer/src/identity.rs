//! This machine's identity: its key, its certificate and the root it believes in, in memory and on disk.

use crate::certificate::public_key;
use crate::{PeerError, PeerIdentity, RootCa};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use shoal_model::node::NodeRole;
use shoal_model::{ClusterId, NodeId, Timestamp};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A machine's private key. It is made on the machine and never leaves it.
pub struct NodeKey {
    pair: KeyPair,
}

impl NodeKey {
    /// A new key (ECDSA P-256).
    pub fn generate() -> Result<Self, PeerError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| bad_key(&e))?;
        Ok(Self { pair })
    }

    /// From PEM.
    pub fn load(pem: &str) -> Result<Self, PeerError> {
        Ok(Self { pair: KeyPair::from_pem(pem).map_err(|e| bad_key(&e))? })
    }

    /// PEM, for the disk.
    pub fn pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// PEM of a request to sign this key; it says nothing else.
    pub fn signing_request(&self) -> Result<String, PeerError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair).map_err(|e| bad_key(&e))?;
        request.pem().map_err(|e| bad_key(&e))
    }
}

fn bad_key(error: &rcgen::Error) -> PeerError {
    PeerError::certificate("node key", error)
}

/// Key, certificate and root of this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    key: String,
    certificate: String,
    root: String,
    peer: PeerIdentity,
}

impl Identity {
    /// Puts the three PEM texts together.
    ///
    /// # Errors
    /// If one cannot be read or the certificate is not for the key.
    pub fn new(key: &NodeKey, certificate: String, root: String) -> Result<Self, PeerError> {
        let peer = PeerIdentity::of_pem(&certificate)?;
        crate::root_digest(&root)?;
        let identity = Self { key: key.pem(), certificate, root, peer };
        if public_key(&identity.leaf()?)? != key.pair.public_key_raw() {
            return Err(PeerError::certificate("node certificate", "it is for another key"));
        }
        Ok(identity)
    }

    /// The identity of a cluster's first manager, signed by its new root.
    pub fn first(
        root: &RootCa,
        node: &NodeId,
        cluster: &ClusterId,
        life: Duration,
        now: Timestamp,
    ) -> Result<Self, PeerError> {
        let key = NodeKey::generate()?;
        let csr = key.signing_request()?;
        let certificate = root.sign(&csr, node, NodeRole::Manager, cluster, life, now)?;
        Self::new(&key, certificate, root.certificate().to_owned())
    }

    /// The same key with a new certificate.
    pub fn renewed(&self, certificate: String, root: String) -> Result<Self, PeerError> {
        Self::new(&NodeKey::load(&self.key)?, certificate, root)
    }

    /// Who the certificate says that this machine is.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// PEM of the root certificate.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// PEM of the certificate.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// PEM of a request to sign the same key again.
    pub fn signing_request(&self) -> Result<String, PeerError> {
        NodeKey::load(&self.key)?.signing_request()
    }

    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, PeerError> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|e| PeerError::certificate("node key", e))
    }

    pub(crate) fn leaf(&self) -> Result<CertificateDer<'static>, PeerError> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|e| PeerError::certificate("node certificate", e))
    }

    pub(crate) fn root_der(&self) -> Result<CertificateDer<'static>, PeerError> {
        CertificateDer::from_pem_slice(self.root.as_bytes())
            .map_err(|e| PeerError::certificate("root certificate", e))
    }
}

impl std::fmt::Debug for Identity {
    /// Without the key, for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.peer).finish()
    }
}

/// The identity on disk: three files in `<data-root>/swarm/certificates`, named as Docker names them.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    dir: PathBuf,
}

impl IdentityFiles {
    /// The files in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Reads the identity; none if this machine never had one, or never got as far as having a certificate.
    pub fn load(&self) -> Result<Option<Identity>, PeerError> {
        let Some(certificate) = self.read("swarm-node.crt")? else { return Ok(None) };
        let (Some(key), Some(root)) = (self.read("swarm-node.key")?, self.read("swarm-root-ca.crt")?) else {
            return Ok(None);
        };
        Identity::new(&NodeKey::load(&key)?, certificate, root).map(Some)
    }

    /// Writes the identity so that a crash leaves either the old or the new one: the certificate comes last, and the
    /// key of a machine does not change while it has a certificate.
    pub fn save(&self, identity: &Identity) -> Result<(), PeerError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|source| PeerError::File { path: self.dir.clone(), source })?;
        if self.read("swarm-node.key")?.is_some_and(|key| key != identity.key) {
            self.remove_file("swarm-node.crt")?;
        }
        self.write("swarm-node.key", &identity.key, 0o600)?;
        self.write("swarm-root-ca.crt", &identity.root, 0o644)?;
        self.write("swarm-node.crt", &identity.certificate, 0o644)
    }

    /// Forgets the identity.
    pub fn remove(&self) -> Result<(), PeerError> {
        ["swarm-node.crt", "swarm-node.key", "swarm-root-ca.crt"].iter().try_for_each(|f| self.remove_file(f))
    }

    fn read(&self, name: &str) -> Result<Option<String>, PeerError> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PeerError::File { path, source }),
        }
    }

    fn remove_file(&self, name: &str) -> Result<(), PeerError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(PeerError::File { path, source }),
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), PeerError> {
        let path = self.dir.join(name);
        replace_file(&self.dir, &path, text, mode).map_err(|source| PeerError::File { path, source })
    }
}

fn replace_file(dir: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // A leftover of a crash may have another mode.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}
