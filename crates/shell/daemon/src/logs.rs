//! Lines that containers wrote, from the runtime's log files into async streams.

use crate::engine::Engine;
use futures::StreamExt;
use shoal_api::backend::Stream;
use shoal_model::assignment::ContainerState;
use shoal_runtime::logs::{self as runtime_logs, Stream as RuntimeStream};
use shoal_wire::ApiError;
use shoal_wire::logs::{LogLine, LogQuery, StdStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Lines on their way to a slow reader at most.
const BUFFERED: usize = 256;

/// The lines of one container. Ends with the container, or at once without `follow`; dropping it stops the reading.
pub(crate) fn of_container(engine: Arc<Engine>, id: String, query: LogQuery) -> Stream<LogLine> {
    let (sender, receiver) = mpsc::channel::<Result<LogLine, ApiError>>(BUFFERED);
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = StopOnDrop(stop.clone());
    tokio::task::spawn_blocking(move || read(&engine, &id, query, &stop, &sender));
    let lines = ReceiverStream::new(receiver).map(move |line| {
        let _kept = &stopper;
        line
    });
    lines.boxed()
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn read(
    engine: &Engine,
    id: &str,
    query: LogQuery,
    stop: &AtomicBool,
    sender: &mpsc::Sender<Result<LogLine, ApiError>>,
) {
    let path = engine.records.log_path(id);
    let wanted = runtime_logs::LogQuery {
        since: query.since,
        until: query.until,
        tail: query.tail,
        stdout: query.stdout,
        stderr: query.stderr,
    };
    let mut sink = |line: runtime_logs::LogLine| {
        if sender.blocking_send(Ok(wire_line(line))).is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let result = if query.follow {
        let ended = || {
            engine.supervisor.shutdown().is_cancelled()
                || !matches!(engine.runtime.state(id), Ok(Some(s)) if !matches!(s.state, ContainerState::Exited { .. }))
        };
        runtime_logs::follow(&path, &wanted, stop, ended, sink)
    } else {
        runtime_logs::read(&path, &wanted).map(|lines| {
            // A reader that went away is no failure.
            let _ = lines.into_iter().try_for_each(&mut sink);
        })
    };
    if let Err(error) = result {
        drop(sender.blocking_send(Err(ApiError::internal(crate::node_loop::chain(&error)))));
    }
}

fn wire_line(line: runtime_logs::LogLine) -> LogLine {
    let stream = match line.stream {
        RuntimeStream::Stdout => StdStream::Stdout,
        RuntimeStream::Stderr => StdStream::Stderr,
    };
    LogLine { at: line.time, stream, text: line.bytes }
}
