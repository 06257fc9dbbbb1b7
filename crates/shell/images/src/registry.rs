//! Talking to one repository of a registry.

use crate::digest::Digest;
use crate::error::Error;
use crate::insecure::is_insecure;
use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST};
use crate::progress::Transfer;
use crate::registry_auth::RegistryAuth;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth as Credentials;
use oci_client::{Reference, RegistryOperation};
use shoal_model::image_reference::ImageReference;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// How long a connection may take to come about.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a registry may be silent in the middle of an answer.
const SILENCE_DEADLINE: Duration = Duration::from_mins(1);
const USER_AGENT: &str = concat!("shoal/", env!("CARGO_PKG_VERSION"));
/// Attempts to fetch one blob.
const ATTEMPTS: usize = 3;

/// One repository of a registry, with the credentials for it.
pub(crate) struct Registry {
    client: Client,
    name: ImageReference,
    credentials: Credentials,
    operation: RegistryOperation,
}

impl Registry {
    /// Finds out how to talk to the registry of `name`, and proves the credentials. An insecure registry may have TLS
    /// without a known certificate, or none.
    pub(crate) async fn connect(
        name: &ImageReference,
        auth: Option<&RegistryAuth>,
        operation: RegistryOperation,
        insecure: &[String],
    ) -> Result<Self, Error> {
        install_crypto();
        let credentials = credentials(auth)?;
        let candidates = if is_insecure(&name.domain, insecure) {
            vec![(ClientProtocol::Https, true), (ClientProtocol::Http, true)]
        } else {
            vec![(ClientProtocol::Https, false)]
        };
        let mut failure = None;
        for (protocol, accept_invalid_certificates) in candidates {
            let config = ClientConfig {
                protocol,
                accept_invalid_certificates,
                use_monolithic_push: true,
                read_timeout: Some(SILENCE_DEADLINE),
                connect_timeout: Some(CONNECT_DEADLINE),
                user_agent: USER_AGENT,
                ..ClientConfig::default()
            };
            let registry = Self {
                client: Client::try_from(config).map_err(|error| of_registry(name, error))?,
                name: name.clone(),
                credentials: credentials.clone(),
                operation,
            };
            match registry.client.auth(&registry.reference(), &credentials, operation).await {
                Ok(_) => return Ok(registry),
                Err(error @ OciDistributionError::RequestError(_)) => failure = Some(registry.told(error)),
                Err(error) => return Err(registry.told(error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::Invalid("no way to talk to the registry".into())))
    }

    /// The manifest or list under the own name, as the registry has it; its digest is checked where the name has one.
    pub(crate) async fn document(&self) -> Result<Vec<u8>, Error> {
        self.document_of(&self.reference()).await
    }

    /// The manifest or list with this digest, checked.
    pub(crate) async fn document_by_digest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let bytes = self.document_of(&self.reference().clone_with_digest(digest.to_string())).await?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(Error::InvalidImage(format!("the registry sent another manifest than {digest}")))
    }

    async fn document_of(&self, reference: &Reference) -> Result<Vec<u8>, Error> {
        let accepted = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX];
        let answer = self.client.pull_manifest_raw(reference, &self.credentials, &accepted).await;
        let (bytes, _) = answer.map_err(|error| self.told(error))?;
        Ok(bytes.to_vec())
    }

    /// A small blob, checked.
    pub(crate) async fn small_blob(&self, descriptor: &Descriptor, longest: u64) -> Result<Vec<u8>, Error> {
        if descriptor.size > longest {
            let why = format!("{} has {} bytes, more than {longest}", descriptor.digest, descriptor.size);
            return Err(Error::InvalidImage(why));
        }
        let mut stream = self.blob_stream(descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.told(error.into()))?);
            if bytes.len() as u64 > descriptor.size {
                break;
            }
        }
        if Digest::of(&bytes) == descriptor.digest {
            return Ok(bytes);
        }
        Err(Error::InvalidImage(format!("the registry sent another blob than {}", descriptor.digest)))
    }

    /// Fetches a blob into the new file `path`. What comes is checked by whoever reads the file.
    pub(crate) async fn fetch(
        &self,
        descriptor: &Descriptor,
        path: &Path,
        mut transfer: impl FnMut() -> Transfer,
    ) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            match self.fetch_once(descriptor, path, transfer()).await {
                Err(Error::Registry { source, .. }) if attempt < ATTEMPTS => {
                    tracing::debug!(digest = %descriptor.digest, error = %source, "fetching again");
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn fetch_once(
        &self,
        descriptor: &Descriptor,
        path: &Path,
        mut transfer: Transfer,
    ) -> Result<(), Error> {
        let failed = || Error::io(format!("write {}", path.display()));
        let mut stream = self.blob_stream(descriptor).await?;
        let mut file = File::create(path).await.map_err(failed())?;
        let mut length = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.told(error.into()))?;
            length += chunk.len() as u64;
            if length > descriptor.size {
                let why = format!(
                    "the registry sent more than the {} bytes of {}",
                    descriptor.size, descriptor.digest
                );
                return Err(Error::InvalidImage(why));
            }
            transfer.add(chunk.len() as u64);
            file.write_all(&chunk).await.map_err(failed())?;
        }
        file.flush().await.map_err(failed())
    }

    async fn blob_stream(
        &self,
        descriptor: &Descriptor,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Unpin + use<>, Error> {
        let wanted = OciDescriptor {
            digest: descriptor.digest.to_string(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let answer = self.client.pull_blob_stream(&self.reference(), &wanted).await;
        answer.map(|sized| sized.stream).map_err(|error| self.told(error))
    }

    /// Whether the repository already has a blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let answer = self.client.blob_exists(&self.reference(), &digest.to_string()).await;
        answer.map_err(|error| self.told(error))
    }

    /// Sends a blob of `size` bytes.
    pub(crate) async fn send_blob(
        &self,
        digest: &Digest,
        size: u64,
        stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), Error> {
        let stream = stream.map(|chunk| chunk.map_err(OciDistributionError::from));
        let sent =
            self.client.push_blob_stream(&self.reference(), stream, &digest.to_string(), Some(size)).await;
        sent.map(drop).map_err(|error| self.told(error))
    }

    /// Puts a manifest under the own name.
    pub(crate) async fn send_manifest(&self, bytes: Vec<u8>, media_type: &str) -> Result<(), Error> {
        let media_type =
            media_type.parse().map_err(|_| Error::InvalidImage(format!("media type {media_type:?}")))?;
        let sent = self.client.push_manifest_raw(&self.reference(), bytes, media_type).await;
        sent.map(drop).map_err(|error| self.told(error))
    }

    fn reference(&self) -> Reference {
        let (domain, path) = (self.name.domain.clone(), self.name.path.clone());
        match (&self.name.digest, &self.name.tag) {
            (Some(digest), _) => Reference::with_digest(domain, path, digest.clone()),
            (None, tag) => Reference::with_tag(domain, path, tag.clone().unwrap_or_else(|| "latest".into())),
        }
    }

    /// What the registry said, in Docker's words.
    fn told(&self, error: OciDistributionError) -> Error {
        let denied = || match self.operation {
            RegistryOperation::Push => Error::PushDenied,
            RegistryOperation::Pull => Error::AccessDenied { repository: self.name.familiar_name() },
        };
        let unknown = || Error::ManifestUnknown { reference: self.name.familiar() };
        let status = match &error {
            OciDistributionError::UnauthorizedError { .. } => Some(401),
            OciDistributionError::ServerError { code, .. } => Some(*code),
            OciDistributionError::RequestError(error) => error.status().map(|status| status.as_u16()),
            _ => None,
        };
        match (error, status) {
            (OciDistributionError::AuthenticationFailure(said), _) => Error::Unauthorized(reason(&said)),
            (OciDistributionError::RegistryError { envelope, url }, _) => {
                match envelope.errors.first().map(|error| &error.code) {
                    Some(OciErrorCode::ManifestUnknown | OciErrorCode::NotFound) => unknown(),
                    Some(OciErrorCode::NameUnknown | OciErrorCode::Denied | OciErrorCode::Unauthorized) => {
                        denied()
                    }
                    _ => of_registry(&self.name, OciDistributionError::RegistryError { envelope, url }),
                }
            }
            (_, Some(401)) => Error::Unauthorized("authentication required".into()),
            (_, Some(403)) => denied(),
            (_, Some(404)) => unknown(),
            (other, _) => of_registry(&self.name, other),
        }
    }
}

fn of_registry(name: &ImageReference, error: OciDistributionError) -> Error {
    Error::Registry { host: name.domain.clone(), source: Box::new(error) }
}

/// The message in a token server's answer, or the answer.
fn reason(answer: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(answer).ok();
    let message = json.as_ref().and_then(|json| {
        json.get("details")
            .or_else(|| json.get("errors")?.get(0)?.get("message"))
            .and_then(|text| text.as_str())
    });
    let text = message.unwrap_or(answer).trim();
    if text.is_empty() { "authentication required".into() } else { text.chars().take(300).collect() }
}

fn credentials(auth: Option<&RegistryAuth>) -> Result<Credentials, Error> {
    let Some(auth) = auth else { return Ok(Credentials::Anonymous) };
    if !auth.registry_token.is_empty() {
        return Ok(Credentials::Bearer(auth.registry_token.clone()));
    }
    if !auth.identity_token.is_empty() {
        return Err(Error::Unauthorized(
            "identity tokens are not supported: log in with a password or an access token".into(),
        ));
    }
    Ok(Credentials::Basic(auth.username.clone(), auth.password.clone()))
}

/// One provider of cryptography for the process; whoever comes first chooses, and ours is the same everywhere.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the process has one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
