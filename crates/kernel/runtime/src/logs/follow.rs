//! Following a log while it grows.

use super::read::Reader;
use super::{LogLine, LogQuery};
use crate::{Error, clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest wait before `stop` and `ended` are asked again.
const PATIENCE: Duration = Duration::from_millis(200);

/// Gives `sink` the lines of a log, then those that are added, until `stop` is set, the sink breaks, `until` has passed,
/// or `ended` says that the container has ended and all is read. Blocks: for a thread of its own. `stop` is seen within
/// a quarter of a second. The file may come later, as may its directory.
pub fn follow(
    path: &Path,
    query: &LogQuery,
    stop: &AtomicBool,
    mut ended: impl FnMut() -> bool,
    mut sink: impl FnMut(LogLine) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut reader = Reader::open(path, query.tail)?;
    let mut changes = Changes::new();
    while !stop.load(Ordering::Relaxed) {
        // Both are asked before reading: what was written before the end, or until then, is read below.
        let is_over = ended() || query.until.is_some_and(|until| clock::now() > until);
        changes.watch(path);
        while let Some(line) = reader.next()? {
            if query.wants(&line) && sink(line).is_break() {
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        if is_over {
            return Ok(());
        }
        changes.wait();
    }
    Ok(())
}

/// Tells when the file has changed, as well as it can: without inotify it only waits.
struct Changes {
    inotify: Option<OwnedFd>,
    is_watching: bool,
}

impl Changes {
    fn new() -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Self { inotify: inotify::init(flags).ok(), is_watching: false }
    }

    fn watch(&mut self, path: &Path) {
        if let (Some(inotify), false) = (&self.inotify, self.is_watching) {
            let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CLOSE_WRITE;
            self.is_watching = inotify::add_watch(inotify, path, events).is_ok();
        }
    }

    fn wait(&self) {
        let patience = Timespec::try_from(PATIENCE).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 200_000_000 });
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(PATIENCE);
            return;
        };
        // An error is a signal; the caller asks its conditions again in any case.
        let _ = poll(&mut [PollFd::new(inotify, PollFlags::IN)], Some(&patience));
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut space);
        while events.next().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stream;
    use super::super::line::encode;
    use super::*;
    use shoal_model::Timestamp;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::time::Instant;

    const BOTH: LogQuery = LogQuery { since: None, until: None, tail: None, stdout: true, stderr: true };
    const DEADLINE: Duration = Duration::from_secs(10);

    struct Following {
        path: std::path::PathBuf,
        _directory: tempfile::TempDir,
        stop: Arc<AtomicBool>,
        ended: Arc<AtomicBool>,
        lines: mpsc::Receiver<String>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Following {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (sender, lines) = mpsc::channel();
            let thread = std::thread::spawn({
                let (path, stop, ended) = (path.clone(), Arc::clone(&stop), Arc::clone(&ended));
                move || {
                    let is_ended = || ended.load(Ordering::Relaxed);
                    follow(&path, &BOTH, &stop, is_ended, |line| {
                        sender.send(String::from_utf8(line.bytes).unwrap()).unwrap();
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                }
            });
            Self { path, _directory: directory, stop, ended, lines, thread: Some(thread) }
        }

        fn write(&self, line: &str) {
            let mut text = Vec::new();
            encode(Timestamp(1), Stream::Stdout, line.as_bytes(), &mut text);
            let mut file = std::fs::File::options().create(true).append(true).open(&self.path).unwrap();
            file.write_all(&text).unwrap();
        }

        fn finish(mut self) -> Vec<String> {
            self.thread.take().unwrap().join().unwrap();
            self.lines.try_iter().collect()
        }
    }

    #[test]
    fn lines_come_as_they_are_written_and_the_end_ends_it() {
        let following = Following::start();
        for n in 0..3 {
            following.write(&format!("{n}\n"));
            assert_eq!(following.lines.recv_timeout(DEADLINE).unwrap(), format!("{n}\n"));
        }
        following.write("last\n");
        following.ended.store(true, Ordering::Relaxed);
        assert_eq!(following.finish(), ["last\n"]);
    }

    #[test]
    fn the_stop_flag_ends_it() {
        let following = Following::start();
        let asked = Instant::now();
        following.stop.store(true, Ordering::Relaxed);
        assert_eq!(following.finish(), [""; 0]);
        assert!(asked.elapsed() < DEADLINE);
    }
}
