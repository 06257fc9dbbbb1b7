//! Which call needs which certificate. All of it is in this one table.

use crate::PeerIdentity;
use shoal_model::node::NodeRole;
use shoal_model::{ClusterId, Timestamp};
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::Status;

/// What one end of a connection knows of the other.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Where the connection comes from.
    pub(crate) remote: SocketAddr,
    /// Who it showed to be; none without a certificate.
    pub(crate) identity: Option<Arc<PeerIdentity>>,
}

/// The calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Join,
    Renew,
    JoinManagers,
    Propose,
    Session,
    Raft,
    Stream,
    Relay,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Node,
    Manager,
}

const TABLE: [(Call, &str, Needs); 8] = [
    (Call::Join, "/shoal.Peer/Join", Needs::Nothing),
    (Call::Renew, "/shoal.Peer/Renew", Needs::Node),
    (Call::JoinManagers, "/shoal.Peer/JoinManagers", Needs::Manager),
    (Call::Propose, "/shoal.Peer/Propose", Needs::Manager),
    (Call::Session, "/shoal.Peer/Session", Needs::Node),
    (Call::Raft, "/shoal.Peer/Raft", Needs::Manager),
    (Call::Stream, "/shoal.Peer/Stream", Needs::Node),
    (Call::Relay, "/shoal.Peer/Relay", Needs::Manager),
];

impl Call {
    /// The call at a path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        TABLE.iter().find(|(_, at, _)| *at == path).map(|(call, ..)| *call)
    }

    /// Its path.
    pub(crate) fn path(self) -> &'static str {
        TABLE.iter().find(|(call, ..)| *call == self).map_or("/", |(_, path, _)| path)
    }

    fn needs(self) -> Needs {
        TABLE.iter().find(|(call, ..)| *call == self).map_or(Needs::Manager, |(.., needs)| *needs)
    }

    /// Lets the caller through or says why not. Answers who it is, for calls that need a certificate.
    ///
    /// TLS has checked the certificate when the connection was made; a connection may outlive it.
    pub(crate) fn admit(
        self,
        caller: &Caller,
        cluster: &ClusterId,
        now: Timestamp,
    ) -> Result<Option<Arc<PeerIdentity>>, Status> {
        if self.needs() == Needs::Nothing {
            return Ok(None);
        }
        let Some(identity) = &caller.identity else {
            return Err(Status::unauthenticated("this call needs the certificate of a node"));
        };
        if &identity.cluster != cluster {
            return Err(Status::permission_denied("the certificate is of another cluster"));
        }
        if !identity.is_valid_at(now) {
            return Err(Status::unauthenticated("the certificate has expired"));
        }
        if self.needs() == Needs::Manager && identity.role != NodeRole::Manager {
            return Err(Status::permission_denied("this call needs the certificate of a manager"));
        }
        Ok(Some(Arc::clone(identity)))
    }
}
