//! What can go wrong with images, in Docker's words where Docker has words for it.

use oci_client::errors::OciDistributionError;
use shoal_model::image_reference::InvalidReference;
use std::io;

/// How the Docker API tells errors apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such image, here or in the registry (404).
    NotFound,
    /// The request or the archive is wrong (400).
    InvalidArgument,
    /// The image is in use (409).
    Conflict,
    /// The registry wants other credentials (401; Docker itself says 500 or 404 here, by where it happened).
    Unauthorized,
    /// The registry cannot be reached (503).
    Unavailable,
    /// Anything else, such as a full disk (500).
    Other,
}

/// Why an operation on images failed. Nothing was changed unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image has this name or id.
    #[error("No such image: {reference}")]
    NotFound {
        /// What was asked for, as Docker repeats it (`x:latest` for `x`).
        reference: String,
    },
    /// A name to push that no image here has.
    #[error("{0}")]
    NoSuchTag(String),
    /// A short id that several images begin with.
    #[error("image id prefix {prefix} is ambiguous: {count} images begin with it")]
    Ambiguous {
        /// The short id.
        prefix: String,
        /// How many images it could be.
        count: usize,
    },
    /// A text that is not an image name.
    #[error(transparent)]
    InvalidReference(#[from] InvalidReference),
    /// A wrong request.
    #[error("{0}")]
    Invalid(String),
    /// An archive, manifest or configuration that does not hold what it must.
    #[error("invalid image: {0}")]
    InvalidImage(String),
    /// A layer that cannot be or must not be unpacked.
    #[error("layer {layer}")]
    Layer {
        /// Digest of the layer's archive, or its name in the archive of the image.
        layer: String,
        /// What is wrong with it.
        #[source]
        source: LayerError,
    },
    /// The image is used.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The registry does not know the repository, or hides it.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require 'docker login': denied: \
         requested access to the resource is denied"
    )]
    AccessDenied {
        /// The familiar name of the repository.
        repository: String,
    },
    /// The registry does not take a push from these credentials.
    #[error("denied: requested access to the resource is denied")]
    PushDenied,
    /// The registry knows the repository but not this tag or digest.
    #[error("manifest for {reference} not found: manifest unknown: manifest unknown")]
    ManifestUnknown {
        /// The familiar name with tag or digest.
        reference: String,
    },
    /// The registry has the image for other machines only.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoMatchingPlatform {
        /// `linux/amd64`
        platform: String,
    },
    /// The registry refuses the credentials.
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    /// The registry did not answer in time.
    #[error("registry {host} did not answer within {seconds} s")]
    TimedOut {
        /// Host and port of the registry.
        host: String,
        /// The deadline.
        seconds: u64,
    },
    /// The registry cannot be reached or answers nonsense.
    #[error("registry {host} failed")]
    Registry {
        /// Host and port of the registry.
        host: String,
        /// What the client saw.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// A file of the store, or the stream of an archive.
    #[error("cannot {what}")]
    Io {
        /// What was being done, such as `write /var/lib/shoal/images/index.json`.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive ends early, or its compression is broken.
    #[error("the archive is broken or cut short")]
    Archive(#[source] io::Error),
    /// A header that makes no sense.
    #[error("the archive has a broken header: {0}")]
    Header(String),
    /// A name or link that leads out of the layer.
    #[error("entry {name:?} {why}")]
    Refused {
        /// Name of the entry.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than the configured bound.
    #[error("the layer unpacks to more than {what} {bound}")]
    TooLarge {
        /// `bytes` or `entries`, with a preposition where needed.
        what: &'static str,
        /// The bound.
        bound: u64,
    },
    /// The contents are not what their digest says.
    #[error("its digest is {found}, not {expected}")]
    WrongDigest {
        /// What the manifest or the configuration says.
        expected: String,
        /// What was computed.
        found: String,
    },
    /// The file system refused an operation.
    #[error("cannot unpack entry {name:?}")]
    Unpack {
        /// Name of the entry.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// How the Docker API should tell this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::AccessDenied { .. } | Self::ManifestUnknown { .. } => {
                ErrorKind::NotFound
            }
            Self::NoMatchingPlatform { .. } | Self::NoSuchTag(_) => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::InvalidReference(_) | Self::Invalid(_) | Self::InvalidImage(_) => {
                ErrorKind::InvalidArgument
            }
            Self::Layer { source: LayerError::Unpack { .. }, .. } => ErrorKind::Other,
            Self::Layer { .. } => ErrorKind::InvalidArgument,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Unauthorized(_) | Self::PushDenied => ErrorKind::Unauthorized,
            Self::TimedOut { .. } | Self::Registry { .. } => ErrorKind::Unavailable,
            Self::Io { .. } => ErrorKind::Other,
        }
    }

    /// The whole story in one line: this error and its causes, for the one message that Docker's API has room for.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// An error of the file system while doing `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
