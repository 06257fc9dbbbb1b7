//! Keeps this machine's certificate from running out.

use crate::clock::now;
use crate::retry::Backoff;
use crate::{Connector, Identity, IdentityFiles, PeerClient, PeerError, RenewRequest};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The part of its life after which a certificate is renewed, at random between these (swarmkit `ca/renewer.go`).
const RENEW_BETWEEN: std::ops::RangeInclusive<f64> = 0.5..=0.8;
/// The clock is looked at this often, because it may be set.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
/// Between attempts.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_mins(5);

/// Renews the certificate between half and four fifths of its life, and whenever `prompt` is rung, until `shutdown`.
/// The new one is on disk before it is used.
pub async fn keep_certificate_fresh(
    connector: Connector,
    managers: watch::Receiver<Vec<String>>,
    files: IdentityFiles,
    prompt: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::new(FIRST_RETRY, SLOWEST_RETRY);
    loop {
        let current = connector.credentials().identity();
        tokio::select! {
            () = due(&current) => {}
            () = prompt.notified() => {}
            () = shutdown.cancelled() => return,
        }
        while let Err(error) = renew(&connector, &managers, &files).await {
            warn!(%error, "the certificate could not be renewed");
            tokio::select! {
                () = tokio::time::sleep(backoff.delay()) => {}
                () = shutdown.cancelled() => return,
            }
        }
        backoff.reset();
        info!(until = %connector.credentials().identity().peer().not_after, "the certificate was renewed");
    }
}

async fn due(identity: &Identity) {
    let peer = identity.peer();
    let life = peer.not_after.since(peer.not_before);
    let due = peer.not_before.plus(life.mul_f64(rand::rng().random_range(RENEW_BETWEEN)));
    loop {
        let left = due.since(now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
    }
}

async fn renew(
    connector: &Connector,
    managers: &watch::Receiver<Vec<String>>,
    files: &IdentityFiles,
) -> Result<(), PeerError> {
    let current = connector.credentials().identity();
    let request = RenewRequest { csr_pem: current.signing_request()? };
    let managers = managers.borrow().clone();
    let mut outcome = Err(PeerError::Refused(tonic::Status::unavailable("no manager is known")));
    for addr in &managers {
        outcome = renew_at(connector, addr, &request).await;
        if outcome.is_ok() {
            break;
        }
    }
    let reply = outcome?;
    let renewed = current.renewed(reply.certificate, reply.root_ca)?;
    let (files, saved) = (files.clone(), renewed.clone());
    let written = tokio::task::spawn_blocking(move || files.save(&saved)).await;
    written.unwrap_or_else(|e| Err(PeerError::certificate("node certificate", e)))?;
    connector.credentials().swap(renewed)
}

async fn renew_at(
    connector: &Connector,
    addr: &str,
    request: &RenewRequest,
) -> Result<crate::RenewReply, PeerError> {
    let mut client = PeerClient::new(connector, addr)?;
    match client.renew(request.clone()).await {
        Err(PeerError::Refused(status)) => match crate::leader_of(&status) {
            Some(leader) if leader != addr => {
                PeerClient::new(connector, &leader)?.renew(request.clone()).await
            }
            _ => Err(PeerError::Refused(status)),
        },
        outcome => outcome,
    }
}
