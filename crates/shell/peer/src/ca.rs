//! The cluster's certificate authority: one root, which signs every node's certificate.

use crate::PeerError;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use shoal_model::node::NodeRole;
use shoal_model::{ClusterId, NodeId, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Common name of the root (swarmkit `ca/certificates.go`: `rootCN`).
const ROOT_NAME: &str = "swarm-ca";
/// Life of the root (swarmkit: `RootCAExpiration`, 20 years of 365 days).
const ROOT_LIFE: Duration = Duration::from_hours(20 * 365 * 24);
/// Certificates are valid from a while ago, because clocks differ (swarmkit: `CertBackdate`).
const BACKDATE: Duration = Duration::from_hours(1);
/// A shorter life would end before the node's next look at its certificate (swarmkit: `MinNodeCertExpiration`).
const SHORTEST_LIFE: Duration = Duration::from_hours(1);

/// The root certificate with its key. Its two texts are what the cluster object stores.
pub struct RootCa {
    certificate: String,
    key: String,
    digest: [u8; 32],
}

impl RootCa {
    /// A new root, valid for 20 years.
    pub fn generate(now: Timestamp) -> Result<Self, PeerError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| bad_root(&e))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, ROOT_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(random_serial());
        params.not_before = (system_time(now) - BACKDATE).into();
        params.not_after = (system_time(now) + ROOT_LIFE).into();
        let certificate = params.self_signed(&key).map_err(|e| bad_root(&e))?;
        Self::load(certificate.pem(), key.serialize_pem())
    }

    /// The root that the cluster object stores.
    pub fn load(certificate: String, key: String) -> Result<Self, PeerError> {
        let digest = root_digest(&certificate)?;
        let root = Self { certificate, key, digest };
        root.issuer().map(drop)?;
        Ok(root)
    }

    /// PEM of the certificate.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// PEM of the key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Sha-256 of the certificate, for join tokens.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Signs a node's request, of which only the key is taken: what the certificate says is said by the cluster.
    /// Answers the certificate as PEM.
    pub fn sign(
        &self,
        csr_pem: &str,
        node: &NodeId,
        role: NodeRole,
        cluster: &ClusterId,
        life: Duration,
        now: Timestamp,
    ) -> Result<String, PeerError> {
        let refused = |e: rcgen::Error| PeerError::certificate("certificate signing request", e);
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(refused)?;
        request.params = node_params(node, role, cluster, life, now).map_err(refused)?;
        Ok(request.signed_by(&self.issuer()?).map_err(refused)?.pem())
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, PeerError> {
        let key = KeyPair::from_pem(&self.key).map_err(|e| bad_root(&e))?;
        Issuer::from_ca_cert_pem(&self.certificate, key).map_err(|e| bad_root(&e))
    }
}

/// Sha-256 of a root certificate given as PEM.
pub fn root_digest(certificate: &str) -> Result<[u8; 32], PeerError> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes())
        .map_err(|e| PeerError::certificate("root certificate", e))?;
    Ok(Sha256::digest(&der).into())
}

/// What a node's certificate says, laid out as swarmkit's are: common name, unit and organisation are node, role and
/// cluster; the role and the id are its host names.
fn node_params(
    node: &NodeId,
    role: NodeRole,
    cluster: &ClusterId,
    life: Duration,
    now: Timestamp,
) -> Result<CertificateParams, rcgen::Error> {
    let unit = role_unit(role);
    let mut names = vec![unit.to_owned(), node.to_string()];
    if role == NodeRole::Manager {
        names.push(ROOT_NAME.to_owned());
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, cluster.as_str());
    params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    params.distinguished_name.push(DnType::CommonName, node.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(random_serial());
    params.use_authority_key_identifier_extension = true;
    params.not_before = (system_time(now) - BACKDATE).into();
    params.not_after = (system_time(now) + life.max(SHORTEST_LIFE)).into();
    Ok(params)
}

/// How a role is spelt in certificates.
pub(crate) fn role_unit(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "swarm-worker",
        NodeRole::Manager => "swarm-manager",
    }
}

fn bad_root(error: &rcgen::Error) -> PeerError {
    PeerError::certificate("root certificate", error)
}

fn random_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    // Serial numbers are positive.
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(at.0).unwrap_or(0))
}
