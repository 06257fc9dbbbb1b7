//! Lines that tasks wrote, gathered from the nodes that they ran on.

use crate::dispatcher::Dispatcher;
use futures::stream::{self, StreamExt};
use shoal_api::backend::Stream;
use shoal_model::{NodeId, Task, Timestamp};
use shoal_peer::{Control, Frame, StreamKind};
use shoal_wire::ApiError;
use shoal_wire::logs::{LogLine, LogQuery, LogSource, StdStream, TaskLogLine};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Lines on their way to a slow reader at most.
const BUFFERED: usize = 256;

/// Lines of every task of a source that a node has or had. A node that cannot be reached is told in a line of its own
/// instead of failing the whole.
pub(crate) fn gather(
    dispatcher: &Arc<Dispatcher>,
    source: &LogSource,
    query: LogQuery,
) -> Stream<TaskLogLine> {
    let state = dispatcher.manager.log.state();
    let tasks: Vec<Arc<Task>> = match source {
        LogSource::Service(service) => state.tasks_of_service(service).cloned().collect(),
        LogSource::Task(task) => state.tasks().get(task).cloned().into_iter().collect(),
    };
    let streams = tasks.into_iter().filter_map(|task| {
        let node = task.node.clone()?;
        Some(of_task(dispatcher.clone(), task, node, query))
    });
    stream::select_all(streams).boxed()
}

fn of_task(
    dispatcher: Arc<Dispatcher>,
    task: Arc<Task>,
    node: NodeId,
    query: LogQuery,
) -> Stream<TaskLogLine> {
    let (sender, receiver) = mpsc::channel(BUFFERED);
    tokio::task::spawn(async move {
        if let Err(message) = pump(&dispatcher, &task, &node, query, &sender).await {
            let text = format!("logs of {} on node {node}: {message}\n", task.name()).into_bytes();
            let line = LogLine { at: crate::entropy::now(), stream: StdStream::System, text };
            // Whoever asked may have gone.
            drop(sender.send(Ok(tagged(&task, &node, line))).await);
        }
    });
    ReceiverStream::new(receiver).boxed()
}

async fn pump(
    dispatcher: &Dispatcher,
    task: &Task,
    node: &NodeId,
    query: LogQuery,
    sender: &mpsc::Sender<Result<TaskLogLine, ApiError>>,
) -> Result<(), String> {
    let never = Timestamp::default();
    let query = shoal_peer::LogQuery {
        follow: query.follow,
        stdout: query.stdout,
        stderr: query.stderr,
        since: query.since.unwrap_or(never),
        until: query.until.unwrap_or(never),
        tail: query.tail,
    };
    let kind = StreamKind::Logs { task: task.id.clone(), query };
    let mut remote = dispatcher.open(node, kind).await.map_err(|s| s.message().to_owned())?;
    loop {
        let frame = tokio::select! {
            frame = remote.inbound.next() => frame,
            () = sender.closed() => return Ok(()),
        };
        match frame {
            None | Some(Ok(Frame::End)) => return Ok(()),
            Some(Ok(Frame::Log(line))) => {
                let stream = if line.stderr { StdStream::Stderr } else { StdStream::Stdout };
                let line = LogLine { at: line.timestamp, stream, text: line.bytes.to_vec() };
                if sender.send(Ok(tagged(task, node, line))).await.is_err() {
                    return Ok(());
                }
            }
            Some(Ok(Frame::Control(Control::Failed { message }))) => return Err(message),
            Some(Ok(_)) => {}
            Some(Err(status)) => return Err(status.message().to_owned()),
        }
    }
}

fn tagged(task: &Task, node: &NodeId, line: LogLine) -> TaskLogLine {
    TaskLogLine { node: node.clone(), service: task.service.clone(), task: task.id.clone(), line }
}
