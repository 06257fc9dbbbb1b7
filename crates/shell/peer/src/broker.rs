//! A manager's side of streams: brings together whoever wants one and the node that calls back with it.

use crate::{Frame, Inbound, ManagerMessage, Outbound, PeerError, PeerIdentity, StreamKind, StreamRequest};
use futures::stream::{self, StreamExt};
use shoal_model::NodeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// A node calls back within this time or not at all.
const CALL_BACK_DEADLINE: Duration = Duration::from_secs(10);
/// Frames on their way.
const QUEUE: usize = 32;

/// Streams that were asked for and have not come yet. Clones share them.
#[derive(Clone, Default)]
pub struct Broker {
    waiting: Arc<Mutex<HashMap<String, Waiting>>>,
}

struct Waiting {
    node: NodeId,
    taker: oneshot::Sender<RemoteStream>,
}

/// Both directions of a stream from a node.
pub struct RemoteStream {
    /// From the node. [`Frame::End`] ends this direction in order; the end of the stream ends both.
    pub inbound: Inbound<Frame>,
    /// To the node. [`Frame::End`] ends this direction in order; dropping it hangs up.
    pub outbound: mpsc::Sender<Frame>,
}

/// A stream that was asked for.
struct Pending {
    id: String,
    broker: Broker,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.broker.lock().remove(&self.id);
    }
}

impl Broker {
    /// Asks `node` for a stream through its session (`say` is the sender of [`crate::SessionInputs::further`]) and
    /// waits until the node calls back.
    ///
    /// # Errors
    /// If the session ends or the node does not call back in time.
    pub async fn open(
        &self,
        node: &NodeId,
        kind: StreamKind,
        say: &mpsc::Sender<ManagerMessage>,
    ) -> Result<RemoteStream, PeerError> {
        let id = format!("{:032x}", rand::random::<u128>());
        let (taker, taken) = oneshot::channel();
        self.lock().insert(id.clone(), Waiting { node: node.clone(), taker });
        let pending = Pending { id: id.clone(), broker: self.clone() };
        let opened = tokio::time::timeout(CALL_BACK_DEADLINE, async {
            say.send(ManagerMessage::Stream(StreamRequest { id, kind })).await.ok()?;
            taken.await.ok()
        });
        let outcome = opened.await;
        drop(pending);
        match outcome {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) => Err(Status::unavailable(format!("node {node} is not connected")).into()),
            Err(_) => Err(PeerError::TimedOut { addr: format!("node {node}") }),
        }
    }

    /// The node calls back: what [`crate::ManagerService::stream`] answers.
    pub fn accept(
        &self,
        peer: &PeerIdentity,
        id: &str,
        inbound: Inbound<Frame>,
    ) -> Result<Outbound<Frame>, Status> {
        let mut waiting = self.lock();
        // An id is only good for the node that it was given to.
        if waiting.get(id).is_none_or(|wanted| wanted.node != peer.node) {
            return Err(Status::not_found("nobody waits for this stream"));
        }
        let Some(wanted) = waiting.remove(id) else {
            return Err(Status::not_found("nobody waits for this stream"));
        };
        drop(waiting);
        let (outbound, queue) = mpsc::channel(QUEUE);
        let stream = RemoteStream { inbound, outbound };
        wanted.taker.send(stream).map_err(|_| Status::cancelled("nobody waits for this stream any more"))?;
        Ok(ReceiverStream::new(queue).map(Ok).boxed())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RemoteStream {
    /// Joins the stream to one from another manager: what [`crate::ManagerService::relay`] answers.
    pub fn relay(self, from_manager: Inbound<Frame>) -> Outbound<Frame> {
        let relay =
            Relay { node: self.inbound, to_node: Some(self.outbound), manager: from_manager, held: None };
        stream::unfold(relay, |mut relay| async move { relay.next().await.map(|frame| (frame, relay)) })
            .boxed()
    }
}

struct Relay {
    node: Inbound<Frame>,
    to_node: Option<mpsc::Sender<Frame>>,
    manager: Inbound<Frame>,
    /// A frame that the node has not taken yet. While there is one, no more are read, but the other way goes on.
    held: Option<Frame>,
}

impl Relay {
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        loop {
            let Some(sender) = self.to_node.clone() else { return self.node.next().await };
            tokio::select! {
                frame = self.node.next() => return frame,
                frame = self.manager.next(), if self.held.is_none() => match frame {
                    Some(Ok(frame)) => self.held = Some(frame),
                    // The one who wanted the stream is gone, so the node hears that it is over.
                    Some(Err(_)) | None => self.to_node = None,
                },
                room = sender.reserve(), if self.held.is_some() => match (room, self.held.take()) {
                    (Ok(room), Some(frame)) => room.send(frame),
                    _ => self.to_node = None,
                },
            }
        }
    }
}
