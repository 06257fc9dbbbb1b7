//! Docker's progress messages: one JSON object a line in the body of pull, push, load and import.

use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How often the bytes of one transfer are reported at most.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// One message, in Docker's spelling. Serialise it, add a line feed and flush.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Message {
    /// Text that is not about one layer (`Loaded image: x\n`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What happens (`Pulling fs layer`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How far a transfer is; empty where there is nothing to count.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The bar that old clients print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The layer (12 digits) or tag that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Data for programs, such as tag and digest after a push.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// Bytes done and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ProgressDetail {
    /// Bytes done.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// Bytes in all; 0 where unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where an operation tells how far it is. Sending never waits; a receiver that is gone is no error.
#[derive(Debug, Clone)]
pub struct Progress {
    sender: Option<UnboundedSender<Message>>,
}

impl Progress {
    /// A sender and what it sends to. The receiver ends when the operation is done.
    pub fn channel() -> (Self, UnboundedReceiver<Message>) {
        let (sender, receiver) = unbounded_channel();
        (Self { sender: Some(sender) }, receiver)
    }

    /// For callers that do not want to know.
    pub fn none() -> Self {
        Self { sender: None }
    }

    pub(crate) fn send(&self, message: Message) {
        if let Some(sender) = &self.sender {
            // A client that went away does not stop the work; whoever drops the receiver knows.
            let _ = sender.send(message);
        }
    }

    pub(crate) fn stream(&self, text: String) {
        self.send(Message { stream: Some(text), ..Message::default() });
    }

    pub(crate) fn status(&self, status: impl Into<String>) {
        self.send(Message { status: Some(status.into()), ..Message::default() });
    }

    pub(crate) fn status_of(&self, id: &str, status: &str) {
        self.send(Message {
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail::default()),
            id: Some(id.to_owned()),
            ..Message::default()
        });
    }

    /// A counter of one transfer's bytes.
    pub(crate) fn transfer(&self, id: &str, status: &'static str, total: u64) -> Transfer {
        Transfer { progress: self.clone(), id: id.to_owned(), status, total, current: 0, reported: None }
    }
}

/// Counts the bytes of one transfer and tells them now and then.
#[derive(Debug)]
pub(crate) struct Transfer {
    progress: Progress,
    id: String,
    status: &'static str,
    total: u64,
    current: u64,
    reported: Option<Instant>,
}

impl Transfer {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.current += bytes;
        let due = self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        if due || (self.total > 0 && self.current == self.total) {
            self.reported = Some(Instant::now());
            self.progress.send(Message {
                status: Some(self.status.to_owned()),
                progress_detail: Some(ProgressDetail { current: self.current, total: self.total }),
                progress: Some(bar(self.current, self.total)),
                id: Some(self.id.clone()),
                ..Message::default()
            });
        }
    }
}

/// `[=====>     ]  1.23MB/4.5MB`, fifty wide, as Docker draws it.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return format!("{:>8}", size(current));
    }
    let done = usize::try_from(current.saturating_mul(50) / total).unwrap_or(50).min(50);
    let numbers = if current > total {
        format!("{:>8}", size(current))
    } else {
        format!("{:>8}/{}", size(current), size(total))
    };
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(50 - done))
}

/// Four digits and a decimal unit: `2.797MB`.
#[allow(clippy::cast_precision_loss, reason = "only four digits are shown")]
fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while number >= 1000.0 {
        let Some(next) = units.next() else { break };
        (number, unit) = (number / 1000.0, next);
    }
    let decimals = if number >= 100.0 {
        1
    } else if number >= 10.0 {
        2
    } else {
        3
    };
    let mut text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits() {
        for (bytes, text) in
            [(0, "0B"), (999, "999B"), (2_796_860, "2.797MB"), (10_000, "10kB"), (1_500_000_000, "1.5GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn bars_are_fifty_wide() {
        assert_eq!(bar(0, 100), format!("[>{}]       0B/100B", " ".repeat(50)));
        assert_eq!(bar(100, 100), format!("[{}>]     100B/100B", "=".repeat(50)));
        assert_eq!(bar(2000, 0), "     2kB");
    }

    #[test]
    fn messages_are_spelled_as_dockers() {
        let (progress, mut messages) = Progress::channel();
        progress.status_of("abc", "Pulling fs layer");
        progress.stream("Loaded image: x\n".into());
        drop(progress);
        let line = |message: Message| serde_json::to_string(&message).unwrap();
        assert_eq!(
            line(messages.try_recv().unwrap()),
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#
        );
        assert_eq!(line(messages.try_recv().unwrap()), r#"{"stream":"Loaded image: x\n"}"#);
        assert!(messages.try_recv().is_err());
    }
}
