//! Streams that managers ask this node for: a task's log, answers about the node.

use crate::dispatcher::Dispatcher;
use crate::own_node::OwnNode;
use crate::verify;
use async_trait::async_trait;
use futures::StreamExt;
use shoal_model::TaskId;
use shoal_peer::{Answer, Control, Frame, LogLine, LogQuery, Question, StreamHandler, StreamIo, StreamKind};
use shoal_wire::logs::StdStream;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Serves streams from this node's containers, and answers.
pub(crate) struct NodeStreams {
    pub(crate) own: OwnNode,
    /// On managers.
    pub(crate) dispatcher: Option<Arc<Dispatcher>>,
}

#[async_trait]
impl StreamHandler for NodeStreams {
    async fn open(&self, kind: StreamKind, io: StreamIo) {
        match kind {
            StreamKind::Logs { task, query } => self.logs(&task, &query, io).await,
            StreamKind::Question(question) => self.question(question, io).await,
            StreamKind::Exec { .. } => {
                fail(&io.outbound, "running programs in tasks of other nodes is not built yet").await;
            }
        }
    }
}

impl NodeStreams {
    async fn question(&self, question: Question, io: StreamIo) {
        match self.answer(question).await {
            Ok(answer) => drop(io.outbound.send(Frame::Control(Control::Answer(Box::new(answer)))).await),
            Err(message) => fail(&io.outbound, &message).await,
        }
    }

    async fn answer(&self, question: Question) -> Result<Answer, String> {
        match question {
            Question::Compare => {
                let compared = self.own.compare().await;
                compared.map(Answer::Comparison).map_err(|e| format!("{e:#}"))
            }
            Question::Holdings => {
                let held = self.own.holdings().await;
                held.map(|held| Answer::Holdings(Box::new(held))).map_err(|e| format!("{e:#}"))
            }
            Question::CompareAll { quick } => {
                let dispatcher = self.dispatcher.as_ref().ok_or("this node is no manager")?;
                // The one who asked believes that this node leads. Asking on would go round in circles.
                if !dispatcher.manager.log.leadership().borrow().is_leader {
                    return Err("this node does not lead any more".to_owned());
                }
                Box::pin(verify::of_cluster(dispatcher, quick)).await.map(Answer::Verdict)
            }
        }
    }

    async fn logs(&self, task: &TaskId, query: &LogQuery, io: StreamIo) {
        let id = shoal_agent::names::container_id(task);
        match self.own.engine.records.read(&id) {
            Ok(Some(_)) => {}
            // A task that never got as far as a container has written nothing.
            Ok(None) => return drop(io.outbound.send(Frame::End).await),
            Err(error) => return fail(&io.outbound, &error.to_string()).await,
        }
        let asked = |at: shoal_model::Timestamp| (!at.is_never()).then_some(at);
        let query = shoal_wire::logs::LogQuery {
            stdout: query.stdout,
            stderr: query.stderr,
            since: asked(query.since),
            until: asked(query.until),
            tail: query.tail,
            follow: query.follow,
        };
        let mut lines = crate::logs::of_container(self.own.engine.clone(), id, query);
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = io.outbound.closed() => return,
            };
            let frame = match line {
                None => break,
                Some(Err(error)) => return fail(&io.outbound, &error.message).await,
                Some(Ok(line)) => Frame::Log(LogLine {
                    timestamp: line.at,
                    stderr: line.stream == StdStream::Stderr,
                    bytes: line.text.into(),
                }),
            };
            if io.outbound.send(frame).await.is_err() {
                return;
            }
        }
        drop(io.outbound.send(Frame::End).await);
    }
}

async fn fail(outbound: &mpsc::Sender<Frame>, message: &str) {
    let failed = Frame::Control(Control::Failed { message: message.to_owned() });
    // The manager may have lost interest.
    drop(outbound.send(failed).await);
}
