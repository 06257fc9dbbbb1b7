//! Errors at this crate's border.

use shoal_model::netns::NamespaceName;
use std::io;
use std::path::PathBuf;

/// What could not be done, where, and the kernel's reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a namespace was refused by the kernel or could not be sent.
    #[error("{operation} {subject} in namespace {namespace}: {reason}")]
    Operation {
        /// What was tried, such as "create link".
        operation: &'static str,
        /// What it was tried on: a link's name, a route, an address.
        subject: String,
        /// Where.
        namespace: NamespaceName,
        /// Why it failed.
        reason: Reason,
    },
    /// A namespace's file could not be made, entered or removed.
    #[error("{action} {}: {source}", path.display())]
    Namespace {
        /// What was tried, such as "enter".
        action: &'static str,
        /// The namespace's file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No thread could be started to enter a namespace.
    #[error("start a thread for a namespace: {0}")]
    Thread(io::Error),
}

/// Why the kernel did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The kernel refused, or did not answer.
    #[error(transparent)]
    Netlink(#[from] shoal_netlink::Error),
    /// There is no such namespace.
    #[error("there is no such namespace: {0}")]
    NoNamespace(io::Error),
    /// There is no such link.
    #[error("there is no link {0}")]
    NoLink(String),
    /// A link of that name exists in the host's namespace and does not carry the owner's mark.
    #[error("a link of that name exists and is not Shoal's (its alias is {0:?})")]
    NotOurs(String),
    /// A VXLAN device with this identifier and port exists in another namespace of this host.
    #[error(
        "a VXLAN device with identifier {vni} and port {port} already exists in this host, in another namespace"
    )]
    VniInUse {
        /// Network identifier.
        vni: u32,
        /// UDP port.
        port: u16,
    },
    /// What was asked for has no form in the kernel.
    #[error("{0}")]
    Impossible(&'static str),
    /// A kernel parameter could not be written.
    #[error("{0}")]
    File(io::Error),
}

impl Reason {
    /// The kernel's error number, where it gave one.
    pub(crate) fn errno(&self) -> Option<nix::errno::Errno> {
        match self {
            Self::Netlink(error) => error.errno(),
            _ => None,
        }
    }
}
