//! Carries the consensus library's messages over the managers' connections.

use async_trait::async_trait;
use shoal_peer::{Connector, PeerClient, PeerError};
use shoal_raft::{Member, Transport, TransportError};

/// Messages to other managers.
pub(crate) struct PeerTransport {
    connector: Connector,
}

impl PeerTransport {
    /// Over these connections.
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector }
    }
}

#[async_trait]
impl Transport for PeerTransport {
    async fn send(&self, to: &Member, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let mut client = PeerClient::new(&self.connector, &to.addr).map_err(|e| failed(&to.addr, &e))?;
        let answer = client.raft(request.into()).await.map_err(|e| failed(&to.addr, &e))?;
        Ok(answer.to_vec())
    }
}

fn failed(addr: &str, error: &PeerError) -> TransportError {
    let (addr, why) = (addr.to_owned(), crate::node_loop::chain(error));
    match error {
        PeerError::Unreachable { .. } | PeerError::TimedOut { .. } => {
            TransportError::Unreachable { addr, why }
        }
        _ => TransportError::Broken { addr, why },
    }
}
