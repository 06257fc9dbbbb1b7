//! Who a certificate says that its holder is.

use crate::PeerError;
use crate::ca::role_unit;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use shoal_model::node::NodeRole;
use shoal_model::{ClusterId, NodeId, Timestamp};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// Who a certificate says that its holder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The node.
    pub node: NodeId,
    /// Its role when the certificate was signed.
    pub role: NodeRole,
    /// The cluster.
    pub cluster: ClusterId,
    /// Sha-256 of its public key, hexadecimal; stays the same when the certificate is renewed.
    pub key_digest: String,
    /// The certificate is valid from this time.
    pub not_before: Timestamp,
    /// And until this.
    pub not_after: Timestamp,
}

impl PeerIdentity {
    /// Reads a certificate. Whether it is to be believed is checked by TLS, not here.
    pub fn of_certificate(der: &[u8]) -> Result<Self, PeerError> {
        let bad = |why: &str| PeerError::certificate("node certificate", why);
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| bad("it is no certificate"))?;
        let name = certificate.subject();
        let unit = one(name.iter_organizational_unit()).ok_or_else(|| bad("it names no role"))?;
        let role = [NodeRole::Worker, NodeRole::Manager].into_iter().find(|role| role_unit(*role) == unit);
        Ok(Self {
            node: common_name(name)
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| bad("it names no node"))?,
            role: role.ok_or_else(|| bad("it names no known role"))?,
            cluster: one(name.iter_organization())
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| bad("it names no cluster"))?,
            key_digest: hex::encode(Sha256::digest(certificate.public_key().raw)),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
        })
    }

    /// Reads the first certificate of a PEM text.
    pub fn of_pem(pem: &str) -> Result<Self, PeerError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| PeerError::certificate("node certificate", e))?;
        Self::of_certificate(&der)
    }

    /// Whether the certificate is valid at this time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    one(name.iter_common_name())
}

/// The only value of an attribute.
fn one<'a, 'b: 'a>(
    mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'b>>,
) -> Option<&'a str> {
    let first = values.next()?.as_str().ok()?;
    values.next().is_none().then_some(first)
}

fn seconds(at: i64) -> Timestamp {
    Timestamp(at.saturating_mul(1_000_000_000))
}

/// The public key that a certificate is for, without the names of its algorithms.
pub(crate) fn public_key(der: &[u8]) -> Result<Vec<u8>, PeerError> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|_| PeerError::certificate("node certificate", "it is no certificate"))?;
    Ok(certificate.public_key().subject_public_key.data.to_vec())
}
