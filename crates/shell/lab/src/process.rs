//! A process that is known again: its number alone may have gone to another one.

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pid: i32,
    /// When it started, in clock ticks since the machine's boot.
    started: u64,
}

/// State letter and start of a process, from its `stat`: the name before them may hold anything but ends with the last
/// closing bracket.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let rest = stat.rsplit_once(") ")?.1;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    // The 22nd field of the whole line; the state is the third.
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let stat =
            fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended already")?;
        let (_, started) = state_and_start(&stat).context("cannot read a process's state")?;
        Ok(Self { pid: i32::try_from(pid)?, started })
    }

    /// Whether it still runs. One that has ended and was not yet asked for its status does not.
    pub(crate) fn runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        state_and_start(&stat)
            .is_some_and(|(state, started)| started == self.started && !matches!(state, 'Z' | 'X'))
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        if !self.runs() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno).context("cannot send a signal"),
        }
    }

    /// The process that was written down, if there is one.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        fs::write(path, serde_json::to_vec(self)?).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_name_does_not_hide_the_fields() {
        let stat = "42 (a) R 1) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 1";
        assert_eq!(state_and_start(stat), Some(('S', 98765)));
    }

    #[test]
    fn the_own_process_runs() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.runs());
        assert!(!Process { started: own.started + 1, ..own }.runs());
    }
}
