//! How a machine becomes a node: it makes a key, checks that the manager belongs to the token's cluster, shows the
//! token, and gets a certificate.

use crate::connector::connect_with_token;
use crate::{
    Identity, JoinReply, JoinRequest, JoinToken, NodeKey, PROTOCOL, PeerClient, PeerError, leader_of,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use shoal_model::node::Availability;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// Managers that do not lead point to the one that does; this often they are followed.
const REDIRECTS: usize = 3;

/// What a machine that joins tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JoinIntent {
    /// Its host name.
    pub hostname: String,
    /// Whether it takes tasks at once.
    pub availability: Availability,
    /// The address that it advertises, `address:port`; empty if the manager may take where it comes from.
    pub advertise_addr: String,
    /// Where its VXLAN traffic goes, if not to the advertised address.
    pub data_path_addr: Option<IpAddr>,
}

/// Joins by any of the managers in `addrs`, tried in turn. The caller saves the identity before it goes on.
pub async fn join(
    addrs: &[String],
    token: &str,
    intent: JoinIntent,
) -> Result<(Identity, JoinReply), PeerError> {
    let parsed: JoinToken = token.parse()?;
    let key = NodeKey::generate()?;
    let request = JoinRequest {
        protocol: PROTOCOL,
        token: token.to_owned(),
        csr_pem: key.signing_request()?,
        hostname: intent.hostname,
        availability: intent.availability,
        advertise_addr: intent.advertise_addr,
        data_path_addr: intent.data_path_addr,
    };
    let mut last = PeerError::Refused(tonic::Status::invalid_argument("no address of a manager was given"));
    for addr in addrs {
        match join_at(addr, &parsed, &request).await {
            Ok(reply) => {
                if crate::root_digest(&reply.root_ca)? != parsed.root_digest() {
                    return Err(PeerError::WrongRoot { expected: hex::encode(parsed.root_digest()) });
                }
                let identity = Identity::new(&key, reply.certificate.clone(), reply.root_ca.clone())?;
                return Ok((identity, reply));
            }
            // Another manager may be up; but no other will like a token that this one refuses.
            Err(error @ (PeerError::Unreachable { .. } | PeerError::TimedOut { .. })) => last = error,
            Err(PeerError::Refused(status)) if status.code() == tonic::Code::Unavailable => {
                last = PeerError::Refused(status);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn join_at(addr: &str, token: &JoinToken, request: &JoinRequest) -> Result<JoinReply, PeerError> {
    let mut addr = addr.to_owned();
    for _ in 0..REDIRECTS {
        let mut client = PeerClient::over(connect_with_token(&addr, token).await?, &addr);
        match client.join(request.clone()).await {
            Err(PeerError::Refused(status)) => match leader_of(&status) {
                Some(leader) if leader != addr => addr = leader,
                _ => return Err(PeerError::Refused(status)),
            },
            outcome => return outcome,
        }
    }
    Err(PeerError::Refused(tonic::Status::unavailable("managers point to one another as the leader")))
}

/// Believes in the one root whose digest is known, if the manager shows it and a certificate signed by it.
#[derive(Debug)]
pub(crate) struct PinnedRoot {
    digest: [u8; 32],
}

/// Travels inside the TLS error.
#[derive(Debug, thiserror::Error)]
#[error("remote CA does not match fingerprint. Expected: {expected}")]
struct Mismatch {
    expected: String,
}

impl PinnedRoot {
    pub(crate) fn new(digest: [u8; 32]) -> Self {
        Self { digest }
    }

    /// The expected digest, if that is what a handshake failed for.
    pub(crate) fn mismatch_in(error: &io::Error) -> Option<String> {
        let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = tls else {
            return None;
        };
        inner.downcast_ref::<Mismatch>().map(|mismatch| mismatch.expected.clone())
    }

    fn verifier(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let shown = chain.iter().find(|der| <[u8; 32]>::from(Sha256::digest(der)) == self.digest);
        let Some(root) = shown else {
            let mismatch = Mismatch { expected: hex::encode(self.digest) };
            return Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crate::provider())
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier(intermediates)?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crate::provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crate::provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crate::provider().signature_verification_algorithms.supported_schemes()
    }
}
