//! Questions to nodes, asked through their sessions with the leader.

use crate::dispatcher::Dispatcher;
use crate::node_loop::chain;
use futures::StreamExt;
use shoal_model::NodeId;
use shoal_peer::{Answer, Control, Frame, Inbound, PeerClient, Question, RelayRequest, StreamKind};
use std::time::Duration;

/// A node answers within this time or not at all. Comparing tens of thousands of entries takes below a second.
const DEADLINE: Duration = Duration::from_secs(15);

impl Dispatcher {
    /// Asks a node, wherever its session is.
    pub(crate) async fn ask(&self, node: &NodeId, question: Question) -> Result<Answer, String> {
        let asked = tokio::time::timeout(DEADLINE, async {
            let kind = StreamKind::Question(question);
            let leadership = self.manager.log.leadership().borrow().clone();
            match leadership.leader {
                // What is sent must stay open: a node does not answer who has hung up.
                _ if leadership.is_leader => {
                    let mut remote = self.open(node, kind).await.map_err(|s| s.message().to_owned())?;
                    answer(&mut remote.inbound).await
                }
                None => Err("no manager leads at the moment".to_owned()),
                Some(leader) => {
                    let request = RelayRequest { node: node.clone(), kind };
                    let mut client =
                        PeerClient::new(&self.manager.connector, &leader.addr).map_err(|e| chain(&e))?;
                    let relayed = client.relay(request, futures::stream::pending()).await;
                    answer(&mut relayed.map_err(|e| chain(&e))?).await
                }
            }
        });
        asked.await.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())))
    }
}

async fn answer(inbound: &mut Inbound<Frame>) -> Result<Answer, String> {
    loop {
        match inbound.next().await {
            Some(Ok(Frame::Control(Control::Answer(answer)))) => return Ok(*answer),
            Some(Ok(Frame::Control(Control::Failed { message }))) => return Err(message),
            Some(Ok(_)) => {}
            Some(Err(status)) => return Err(status.message().to_owned()),
            None => return Err("the connection broke off".to_owned()),
        }
    }
}
