//! The reasons that libcontainer only logs: it hands up `failed to prepare rootfs` and logs which mount failed and why.
//! A subscriber of its error events writes them to a pipe, from whichever of its processes they come.

use rustix::pipe::{PipeFlags, pipe_with};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A pipe of diagnoses: the end to read and the end for [`listen`].
pub(super) fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// From now on, error events of this process and of those it makes go to the pipe.
pub(super) fn listen(pipe: OwnedFd) {
    // It fails only where a subscriber is set already, which is as good.
    let _ = tracing::subscriber::set_global_default(Listener { pipe });
}

/// What the diagnoses in the pipe say, if there are any: the first one is nearest to the cause, and the first error value
/// among them is the cause. What follows are the same error's further stages.
pub(super) fn cause(pipe: &OwnedFd) -> Option<String> {
    let mut bytes = [0; 8192];
    let length = rustix::io::read(pipe, &mut bytes).ok()?;
    summary(&String::from_utf8_lossy(bytes.get(..length)?))
}

fn summary(text: &str) -> Option<String> {
    const VALUE: &str = " err=";
    let first = text.lines().next()?;
    let value = text.lines().find_map(|line| line.split_once(VALUE));
    match value {
        Some((_, value)) if !first.contains(VALUE) => Some(format!("{first}: {value}")),
        _ => Some(first.to_owned()),
    }
}

struct Listener {
    pipe: OwnedFd,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}\n", line.message, line.fields).replace('\n', " ");
        // A diagnosis that finds no room is lost; the error itself still comes up.
        if let Ok(pipe) = self.pipe.try_clone() {
            let _ = std::fs::File::from(pipe).write_all(format!("{}\n", text.trim_end()).as_bytes());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a text cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_among_the_stages() {
        let text =
            "failed to mount X: syscall\nfailed to prepare rootfs err=Syscall(Nix(EINVAL))\nfailed: Y\n";
        assert_eq!(summary(text).unwrap(), "failed to mount X: syscall: Syscall(Nix(EINVAL))");
        let text = "failed to set namespace err=Nix(EPERM)\nfailed err=Other\n";
        assert_eq!(summary(text).unwrap(), "failed to set namespace err=Nix(EPERM)");
        assert_eq!(summary(""), None);
    }
}
