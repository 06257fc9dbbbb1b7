//! Starting a shim and hearing from it whether it could make its container.

use crate::failure::Failure;
use crate::spec::ContainerSpec;
use crate::state_dir::StateDir;
use crate::{Error, wire};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Longest time for a shim to make its container.
const PATIENCE: Timespec = Timespec { tv_sec: 90, tv_nsec: 0 };
/// What is quoted of the log of a shim that ended without an answer.
const LAST_WORDS_CHARS: usize = 400;

/// Starts a shim from the sealed binary and waits until its container is made.
pub(crate) fn start(sealed: &OwnedFd, directory: &StateDir, spec: &ContainerSpec) -> Result<(), Error> {
    let io = |action| {
        let path = directory.path().to_owned();
        move |source| Error::Io { action, path, source }
    };
    let specification = memory_file(&serde_json::to_vec(spec).map_err(|e| io("encode")(e.into()))?)
        .map_err(io("write the specification for"))?;
    let log = File::options().create(true).append(true).open(directory.shim_log()).map_err(io("log for"))?;
    let (answer, their_answer) = wire::pair().map_err(io("socketpair for"))?;
    let mut child = Command::new(format!("/proc/self/fd/{}", sealed.as_raw_fd()))
        .arg0("shoal")
        .arg("shim")
        .arg(directory.path())
        .env_clear()
        .current_dir("/")
        .stdin(specification)
        .stdout(Stdio::from(their_answer))
        .stderr(log)
        .spawn()
        .map_err(io("start the shim for"))?;
    // The process started here only forks the one that stays.
    child.wait().map_err(io("start the shim for"))?;
    hear(directory, &answer)
}

/// A file in memory with this content, positioned at its start.
pub(crate) fn memory_file(content: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("shoal-spec", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

fn hear(directory: &StateDir, answer: &OwnedFd) -> Result<(), Error> {
    let waiting = [PollFd::new(answer, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut waiting.clone(), Some(&PATIENCE))) {
        Ok(0) => return Err(Error::Timeout(format!("making container {}", directory.id()))),
        Ok(_) => {}
        Err(e) => return Err(shim_error(directory, format!("cannot be heard: {e}"))),
    }
    match wire::receive::<Result<(), Failure>>(answer) {
        Ok(Some((outcome, _))) => outcome.map_err(|failure| failure.into_error(&directory.id())),
        Ok(None) => Err(shim_error(directory, format!("ended without an answer: {}", last_words(directory)))),
        Err(e) => Err(shim_error(directory, format!("cannot be understood: {e}"))),
    }
}

fn last_words(directory: &StateDir) -> String {
    let text = std::fs::read_to_string(directory.shim_log()).unwrap_or_default();
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(LAST_WORDS_CHARS);
    text.chars().skip(skipped).collect()
}

pub(crate) fn shim_error(directory: &StateDir, what: String) -> Error {
    Error::Shim { id: directory.id(), what }
}
